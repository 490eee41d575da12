//! Worlds to test in.
