"""The training loss: methods as lists of terms, the tokens that each term compares, and their weighted sum."""
