"""From what a user wrote to the text that a model reads."""
