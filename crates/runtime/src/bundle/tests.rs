//! Configs that are understood, and that are not.
