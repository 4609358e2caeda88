"""The dashboard's page, the report and the comparison as HTML."""
