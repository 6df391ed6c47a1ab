"""Studies of several runs: `compare` trains methods under equal conditions, `sweep` tunes each with as many trials."""
