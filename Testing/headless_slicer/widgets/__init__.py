"""Stand-ins for `ctk` widgets, and for the qMRML widgets, which observe the real scene."""
