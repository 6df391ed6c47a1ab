"""The Vision Transformer, the head, and the student-teacher pair."""
