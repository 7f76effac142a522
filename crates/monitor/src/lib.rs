//! hull-monitor.
