"""From a method's terms to one loss: which tokens a term is about, and the weighted sum."""
