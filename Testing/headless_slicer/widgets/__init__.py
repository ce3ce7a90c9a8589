"""`ctk` and qMRML widgets that observe the real scene."""
