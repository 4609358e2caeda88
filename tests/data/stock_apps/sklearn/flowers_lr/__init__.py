"""Logistic regression of scikit-learn."""
