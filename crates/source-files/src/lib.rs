//! Captures and restores file trees.
