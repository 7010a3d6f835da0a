use std::convert::Infallible;

use crate::Step;

/// A decision: a function from a state to the next one and the messages that go with it.
///
/// # Contract
///
/// Between the process and the [`Engine`](crate::Engine): the engine calls it with the current state, and again with the
/// newer one when another commit came first. Only the step of the last call is committed. So a process has no effect but
/// its step: it reads no clock and calls nobody. There is no asynchronous one for the same reason: what has to be waited
/// for is fetched before and passed in. It runs on the thread of its caller and takes microseconds; the longer it takes, the
/// more often another commit comes first.
///
/// Every closure and function `Fn(&S) -> Step<S>` or `Fn(&S) -> Result<Step<S>, E>` is one. A closure has to name the type
/// of its argument: `|count: &u64| Step::new(count + 1)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no process of a state `{S}`",
    note = "a process takes `&{S}` and returns `Step<{S}, _>` or `Result<Step<{S}, _>, _>`; a closure has to name the type \
            of its argument"
)]
pub trait Process<S> {
    /// What the caller is told after the commit.
    type Output;
    /// Why there may be no step.
    type Error;

    /// Decides.
    ///
    /// # Errors
    ///
    /// Its own. Nothing is committed then, and the process is not called again.
    fn decide(&self, state: &S) -> Result<Step<S, Self::Output>, Self::Error>;
}

impl<S, F, R> Process<S> for F
where
    F: Fn(&S) -> R,
    R: IntoStep<S>,
{
    type Output = R::Output;
    type Error = R::Error;

    fn decide(&self, state: &S) -> Result<Step<S, R::Output>, R::Error> {
        self(state).into_step()
    }
}

/// What a function returns that is a [`Process`]: a step, or a result with one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a process of a state `{S}` returns",
    note = "return `Step<{S}, _>` or `Result<Step<{S}, _>, _>`"
)]
pub trait IntoStep<S> {
    /// What the caller is told after the commit.
    type Output;
    /// Why there may be no step.
    type Error;

    /// As a result.
    ///
    /// # Errors
    ///
    /// The process's own.
    fn into_step(self) -> Result<Step<S, Self::Output>, Self::Error>;
}

impl<S, T> IntoStep<S> for Step<S, T> {
    type Output = T;
    type Error = Infallible;

    fn into_step(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

impl<S, T, E> IntoStep<S> for Result<Step<S, T>, E> {
    type Output = T;
    type Error = E;

    fn into_step(self) -> Self {
        self
    }
}
