//! Argo CD.

mod fixture;
