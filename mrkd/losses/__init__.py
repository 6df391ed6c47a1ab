"""Loss terms: tensors in, scalar out."""
