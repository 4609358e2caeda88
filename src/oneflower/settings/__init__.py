"""Every FL_* variable, declared once; parser, errors, run-config and documents follow from the table."""
