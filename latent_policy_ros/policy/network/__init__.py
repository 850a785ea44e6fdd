"""The network of a policy: encoders of observations, denoisers of action chunks, objectives and samplers."""
