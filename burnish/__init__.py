"""burnish: from a pre-trained model to a released assistant, with the people's judgements in the loop."""

__version__ = "0.1.0"
