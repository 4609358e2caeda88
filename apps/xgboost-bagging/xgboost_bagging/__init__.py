"""XGBoost by bagging: a stock Flower app, without a line of oneflower."""
