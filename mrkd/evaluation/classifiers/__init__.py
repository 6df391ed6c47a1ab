"""Classifiers of features and of images: what the evaluators fit and score."""
