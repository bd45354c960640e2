//! Packages that ship components which other people wrote: their own tests.
//!
//! Nothing here is ever compiled. The test of the corpus asks cargo where it has put the sources of these
//! packages, and cargo fetches them where they are not there yet.
