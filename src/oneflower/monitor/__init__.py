"""What reads the journal: status, metrics, report, web page."""
