"""Masked relational knowledge distillation for self-supervised vision."""
