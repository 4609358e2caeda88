"""Classification of the rows of a table: logistic regression or a small network of scikit-learn."""
