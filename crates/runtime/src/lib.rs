//! hull-runtime.
