"""Prediction from observation histories in tests."""


def predict(policy, histories):
    """One chunk for each history of observations."""
    return policy.predict([policy.prepare(history) for history in histories])
