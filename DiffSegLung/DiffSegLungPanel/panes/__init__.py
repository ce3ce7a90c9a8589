"""The sections of the panel, a file each, and what they share: messages, dialogs, the run's button."""
