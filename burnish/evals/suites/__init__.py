"""The suites, one hazard a file."""

from __future__ import annotations

from burnish.evals.suites import bias, facts, over_refusal, refusal, region, tone

SUITES = (facts.SUITE, region.SUITE, refusal.SUITE, over_refusal.SUITE, bias.GAP, bias.DIRECTION, tone.SUITE)
"""In the order of a report."""
