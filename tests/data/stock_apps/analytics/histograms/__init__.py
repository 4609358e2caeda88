"""Analytics: a query for histograms, and no model."""
