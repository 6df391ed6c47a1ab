"""Many runs as one question: comparing methods, and tuning each by the same number of trials."""
