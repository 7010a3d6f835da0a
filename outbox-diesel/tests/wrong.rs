//! Wrong use does not compile, and the compiler says what to do instead.

// It names the connections that there are.
#[cfg(all(feature = "postgres", feature = "mysql", feature = "sqlite"))]
#[test]
fn wrong_use_does_not_compile() {
    // Compilers differ in their words. `TRYBUILD=overwrite` writes those of another one.
    if outbox_conformance::compiler_is("1.95") {
        trybuild::TestCases::new().compile_fail("tests/wrong/*.rs");
    }
}
