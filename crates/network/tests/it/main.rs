//! The network on real namespaces.
