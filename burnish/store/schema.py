"""The tables of the preference database. Knows their shape and what must hold of them, asks nothing of them.

Judgements, settlements and events are append-only: a second thought is a new row that names the one it supersedes, and
triggers made by migrations refuse to change or delete any. What SQL can promise stands here as a constraint, so that no
two processes can break it between a question and a write.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from burnish.store.base import Base, Moment


class CampaignRow(Base):
    """A question put to several people about the answers to many prompts."""

    __tablename__ = "campaign"
    __table_args__ = (
        CheckConstraint("kind in ('pairwise', 'ranking', 'scale', 'good_bad')", name="kind"),
        CheckConstraint("overlap >= 1", name="overlap"),
        CheckConstraint("assistance in ('none', 'before', 'after')", name="assistance"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), unique=True)
    """The content key of the stage that made it: a rerun finds its own campaign and no other's labels."""
    name: Mapped[str] = mapped_column(String(200))
    question: Mapped[str]
    kind: Mapped[str] = mapped_column(String(20))
    overlap: Mapped[int]
    """How many people judge each item."""
    training: Mapped[int] = mapped_column(server_default="0")
    """How many gold questions a person is given first."""
    pass_mark: Mapped[float] = mapped_column(Float, server_default="0.7")
    """The mean score in them, from 0 to 1, with which they are given others."""
    asks: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    """What is asked beside the order, as `store.details.Asks` writes it."""
    created: Mapped[datetime] = mapped_column(Moment)
    closed: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Nobody is given more of it."""
    guideline: Mapped[str] = mapped_column(server_default="")
    """What people are told beside each task, in Markdown; older versions are in the audit log."""
    guideline_version: Mapped[int] = mapped_column(server_default="0")
    """0: there was none yet."""
    assistance: Mapped[str] = mapped_column(String(10), server_default="none")
    """Whether critiques stand beside answers: before a person's first judgement, or after it."""
    assisted: Mapped[float] = mapped_column(Float, server_default="0.5")
    """Share of the pairs of a person and an item that get them."""
    live: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Of a live campaign, whose items are turns of conversations: `store.live.Live`."""


class AnnotatorRow(Base):
    """Someone who judges, or who looks after those who do."""

    __tablename__ = "annotator"
    __table_args__ = (
        CheckConstraint("kind in ('person', 'simulated', 'model', 'imported')", name="kind"),
        CheckConstraint("role in ('owner', 'manager', 'adjudicator', 'annotator', 'viewer')", name="role"),
        CheckConstraint("standing in ('active', 'held', 'withdrawn')", name="standing"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    handle: Mapped[str] = mapped_column(String(200), unique=True)
    """What the audit log and snapshots call them, so that a name stands in this table alone and can be removed."""
    name: Mapped[str] = mapped_column(String(200), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    role: Mapped[str] = mapped_column(String(20), server_default="annotator")
    languages: Mapped[list[str]] = mapped_column(JSON, server_default="[]")
    """Those they read, as `store.people.language` writes them; none named: all."""
    standing: Mapped[str] = mapped_column(String(20), server_default="active")
    """held: given no more tasks. withdrawn: nor does what they said count."""
    password: Mapped[str | None] = mapped_column(String(200))
    """Its Argon2 hash. None: nobody signs in under this name."""
    removed: Mapped[datetime | None] = mapped_column(Moment)
    """When the name was taken out."""
    created: Mapped[datetime] = mapped_column(Moment)
    counts: Mapped[bool] = mapped_column(Boolean, server_default=true())
    """Whether what they say takes a seat and goes into snapshots. A model that only stands beside people does not."""
    about: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Of a model: which one, and the principles that it judges by."""


class InvitationRow(Base):
    """A link that lets one person in, once: a new one, or one who lost their password."""

    __tablename__ = "invitation"
    __table_args__ = (
        CheckConstraint("role in ('owner', 'manager', 'adjudicator', 'annotator', 'viewer')", name="role"),
    )

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of what is in the link, so that who reads the database cannot come in by it."""
    role: Mapped[str] = mapped_column(String(20))
    languages: Mapped[list[str]] = mapped_column(JSON)
    annotator_id: Mapped[int | None] = mapped_column(ForeignKey("annotator.id"))
    """For whom it is; None: for someone new."""
    invited_by: Mapped[int | None] = mapped_column(ForeignKey("annotator.id"))
    """Who made it; None: the command line. It ends when they may no longer give its role."""
    until: Mapped[datetime] = mapped_column(Moment)


class VisitRow(Base):
    """Someone who is signed in, in one browser. It outlives a restart of the server."""

    __tablename__ = "visit"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of what the browser's cookie holds."""
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotator.id"), index=True)
    until: Mapped[datetime] = mapped_column(Moment)


class ItemRow(Base):
    """One prompt of a campaign."""

    __tablename__ = "item"
    __table_args__ = (
        UniqueConstraint("campaign_id", "prompt_id"),
        UniqueConstraint("campaign_id", "position"),
        Index(
            "ix_item_open",
            "campaign_id",
            "position",
            sqlite_where=text("open_seats > 0"),
            postgresql_where=text("open_seats > 0"),
        ),
        Index(
            "ix_item_gold",
            "campaign_id",
            "position",
            sqlite_where=text("gold is not null"),
            postgresql_where=text("gold is not null"),
        ),
        Index(  # of all items, but no other question may come by it, or SQLite would look for the next task here
            "ix_item_counts",
            "campaign_id",
            "judged",
            "skipped",
            "open_seats",
            sqlite_where=text("judged >= 0"),
            postgresql_where=text("judged >= 0"),
        ),
        Index(
            "ix_item_opposed",
            "campaign_id",
            "opposed",
            sqlite_where=text("opposed > 0"),
            postgresql_where=text("opposed > 0"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    prompt_id: Mapped[str] = mapped_column(String(200))
    messages: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    meta: Mapped[dict[str, Any]] = mapped_column(JSON)
    position: Mapped[int]
    language: Mapped[str | None] = mapped_column(String(35))
    """That of `meta`, where it says one: the item goes to people who read it."""
    gold: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))
    """The right ranks, where they are known: such an item takes no seats and is in no snapshot (`store.gold`)."""
    judged: Mapped[int] = mapped_column(server_default="0")
    """By how many people it is judged now. This and the next two are counted anew whenever somebody says something, so
    that a million judgements need not be read to find the next task."""
    skipped: Mapped[int] = mapped_column(server_default="0")
    """How many people say now that they cannot judge it."""
    open_seats: Mapped[int] = mapped_column(server_default="0")
    """Judgements still to come; 0 too when as many have skipped it as should have judged it, and when it is
    settled."""
    opposed: Mapped[float] = mapped_column(Float, server_default="0")
    """Share of pairs of answers that two people ordered against each other (`store.ranks.opposed`), counted as the
    three above, so that the worst items are found by an index."""


class AnswerRow(Base):
    """One answer to an item's prompt. `model` is never shown to those who judge."""

    __tablename__ = "answer"
    __table_args__ = (UniqueConstraint("item_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    position: Mapped[int]
    text: Mapped[str]
    model: Mapped[str] = mapped_column(String(200))
    ids: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))


class CritiqueRow(Base):
    """What a model said of an answer. Append-only: it is what people were shown."""

    __tablename__ = "critique"

    id: Mapped[int] = mapped_column(primary_key=True)
    answer_id: Mapped[int] = mapped_column(ForeignKey("answer.id"), unique=True)
    text: Mapped[str]
    model: Mapped[str] = mapped_column(String(200))
    right: Mapped[bool | None] = mapped_column("is_right", Boolean)
    """Whether what it says is right, where that is known: of a planted one."""
    created: Mapped[datetime] = mapped_column(Moment)


class AssignmentRow(Base):
    """An item lent to one person for a while, with the order in which that person sees its answers."""

    __tablename__ = "assignment"
    __table_args__ = (
        CheckConstraint("assistance in ('none', 'before', 'after')", name="assistance"),
        UniqueConstraint("item_id", "annotator_id"),
        Index(None, "annotator_id", "campaign_id", "leased_until"),
        Index(
            "ix_assignment_answered",
            "annotator_id",
            "campaign_id",
            "shown",
            "id",
            sqlite_where=text("leased_until is null"),
            postgresql_where=text("leased_until is null"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    """The item's: so that what a person did is counted from the index alone."""
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotator.id"))
    order: Mapped[list[int]] = mapped_column("shown_order", JSON)
    """order[i] is the position of the answer shown in place i."""
    shown: Mapped[datetime] = mapped_column(Moment)
    leased_until: Mapped[datetime | None] = mapped_column(Moment)
    """None when it is answered: the lease is over."""
    assistance: Mapped[str | None] = mapped_column(String(10))
    """Whether this person gets this item's critiques, as it was drawn (`store.assistance`); None: nothing was, since
    there were none, or nobody measured what they do."""
    advised: Mapped[datetime | None] = mapped_column(Moment)
    """When the critiques were first put before this person."""


class JudgementRow(Base):
    """What one person said of one item, or why not. Append-only."""

    __tablename__ = "judgement"
    __table_args__ = (
        CheckConstraint("(ranks is null) <> (skip is null)", name="ranks_or_skip"),
        Index(
            "uq_judgement_first",
            "assignment_id",
            unique=True,
            sqlite_where=text("supersedes is null"),
            postgresql_where=text("supersedes is null"),
        ),
        Index(None, "annotator_id", "item_id"),
        Index(
            "ix_judgement_skipped",
            "annotator_id",
            "item_id",
            sqlite_where=text("skip is not null"),
            postgresql_where=text("skip is not null"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    submission: Mapped[str] = mapped_column(String(100), unique=True)
    """Made by the client before it sends: the same click sent twice is one row."""
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignment.id"), index=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), index=True)
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotator.id"))
    ranks: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))
    """One rank for each answer in the answers' own order, 1 the best, equal a tie, without gaps."""
    skip: Mapped[str | None] = mapped_column(String(200))
    chances: Mapped[list[float] | None] = mapped_column(JSON(none_as_null=True))
    """Of a model: for every two answers, in the order of `itertools.combinations`, how likely the first is better."""
    details: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What was said beside the order, as `store.details.Details` writes it, in the answers' own order."""
    seconds: Mapped[float] = mapped_column(Float)
    created: Mapped[datetime] = mapped_column(Moment)
    supersedes: Mapped[str | None] = mapped_column(ForeignKey("judgement.id"), unique=True)
    aided: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Whether it was said with the item's critiques in sight, or after."""


class SettlementRow(Base):
    """How someone who did not judge an item decided its order. Append-only."""

    __tablename__ = "settlement"
    __table_args__ = (
        Index(
            "uq_settlement_first",
            "item_id",
            unique=True,
            sqlite_where=text("supersedes is null"),
            postgresql_where=text("supersedes is null"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    submission: Mapped[str] = mapped_column(String(100), unique=True)
    """Made by the client before it sends, as a judgement's."""
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), index=True)
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotator.id"), index=True)
    ranks: Mapped[list[int]] = mapped_column(JSON)
    """As a judgement's: in the answers' own order, 1 the best, equal a tie, without gaps. Where a single answer is good
    or bad: its rank and that of what would be just good enough."""
    note: Mapped[str] = mapped_column(String(2000))
    """Why; may be empty."""
    created: Mapped[datetime] = mapped_column(Moment)
    supersedes: Mapped[str | None] = mapped_column(ForeignKey("settlement.id"), unique=True)


class ConversationRow(Base):
    """What one person and a live campaign's models said to each other."""

    __tablename__ = "conversation"
    __table_args__ = (
        Index(
            "uq_conversation_open",
            "campaign_id",
            "annotator_id",
            unique=True,
            sqlite_where=text("ended is null"),
            postgresql_where=text("ended is null"),
        ),
        Index(None, "annotator_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotator.id"))
    key: Mapped[str] = mapped_column(String(36), unique=True)
    """Random, and on no page: what is drawn in the conversation is drawn by it."""
    language: Mapped[str | None] = mapped_column(String(35))
    """That its person says it is in."""
    began: Mapped[datetime] = mapped_column(Moment)
    ended: Mapped[datetime | None] = mapped_column(Moment)


class TurnRow(Base):
    """A message of a person's, kept before any model is asked. Its answers are an item."""

    __tablename__ = "turn"
    __table_args__ = (UniqueConstraint("conversation_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversation.id"))
    position: Mapped[int]
    """From 0."""
    submission: Mapped[str] = mapped_column(String(100), unique=True)
    """Made by the client before it sends, as a judgement's."""
    messages: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    """All up to and with the person's."""
    models: Mapped[list[str]] = mapped_column(JSON)
    """Who was drawn to answer, in the answers' own order."""
    sent: Mapped[datetime] = mapped_column(Moment)
    tries: Mapped[int] = mapped_column(server_default="0")
    """How often the models were asked in vain."""
    failure: Mapped[str | None] = mapped_column(String(20))
    """Why the last time was in vain, until the person sends it again; one of `store.live.Failure`."""
    item_id: Mapped[int | None] = mapped_column(ForeignKey("item.id"), unique=True)
    """The message with its answers; None: there are none yet."""


class EventRow(Base):
    """One line of the audit log; its hash covers the line before. Append-only."""

    __tablename__ = "event"
    __table_args__ = (Index(None, "actor", "seq"), Index(None, "verb", "seq"))

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Moment)
    actor: Mapped[str] = mapped_column(String(200))
    verb: Mapped[str] = mapped_column(String(50))
    target: Mapped[str] = mapped_column(String(401))
    """At most an item's: its campaign's key, a slash and its prompt's id."""
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
