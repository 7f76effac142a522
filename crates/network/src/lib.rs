//! hull-network.
