"""Chat formats: messages and tools to prompt pieces, a model's words to events."""
