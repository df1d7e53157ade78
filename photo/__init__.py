"""The digit in a photograph: `find` looks for it."""
