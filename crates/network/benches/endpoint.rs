//! Times of one endpoint.
fn main() {}
