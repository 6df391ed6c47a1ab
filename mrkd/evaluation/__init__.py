"""Measure what was learnt; labels are used here and nowhere else.

`evaluate_run.py` measures a run with every evaluator. An evaluator says what is measured, under which protocol and how
tables show it: `evaluator.py` is the contract, `evaluators/` holds one file for each and their registry. The modules
beside them are the algorithms.
"""
