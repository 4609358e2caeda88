"""XGBoost with bagging: each round adds every client's trees."""
