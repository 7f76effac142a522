//! hull-store.
