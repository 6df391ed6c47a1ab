"""Evaluation of backbones: k-NN, linear probe, fine-tuning, clustering, rank. Only evaluation uses labels.

`evaluate_run.py` runs all evaluators on a run. An evaluator defines a measurement, its protocol, and how tables show
it: `evaluator.py` is the interface, `evaluators/` has one file for each and their registry. The other modules are the
algorithms that evaluators use.
"""
