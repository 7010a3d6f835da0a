use std::time::{Duration, Instant};

use super::script::{Script, Simpler, Step};

/// Worlds that are played in order to find the smallest one, at most.
const MOST: usize = 4_000;

/// How long that may take. A world that does not come to rest takes a while each time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A smaller script that still fails, and how many were tried. Steps are left out, in large parts first and then one by
/// one; then pauses, and what is in the steps, and what holds from the beginning.
pub(super) fn shrink<S: Simpler + Clone, E: Simpler + Clone>(
    script: &Script<S, E>,
    fails: impl Fn(&Script<S, E>) -> bool,
) -> (Script<S, E>, usize) {
    let mut search = Search { best: script.clone(), fails, tried: 0, begun: Instant::now() };
    loop {
        let before = search.size();
        search.leave_out_steps();
        search.simplify_steps();
        search.simplify_setup();
        if search.size() == before || search.is_over() {
            return (search.best, search.tried);
        }
    }
}

struct Search<S, E, F> {
    best: Script<S, E>,
    fails: F,
    tried: usize,
    begun: Instant,
}

impl<S: Simpler + Clone, E: Simpler + Clone, F: Fn(&Script<S, E>) -> bool> Search<S, E, F> {
    /// Whether anything has become smaller: the number of steps, of pauses, and of what could be simpler.
    fn size(&self) -> (usize, usize, usize) {
        let steps = &self.best.steps;
        let pauses = steps.iter().filter(|step| !step.pause.is_zero()).count();
        let events: usize = steps.iter().map(|step| step.event.simpler().len()).sum();
        (steps.len(), pauses, events + self.best.setup.simpler().len())
    }

    fn is_over(&self) -> bool {
        self.tried >= MOST || self.begun.elapsed() > PATIENCE
    }

    fn try_this(&mut self, candidate: Script<S, E>) -> bool {
        if self.is_over() {
            return false;
        }
        self.tried += 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    fn leave_out_steps(&mut self) {
        let mut part = self.best.steps.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut candidate = self.best.clone();
                candidate.steps.drain(at..(at + part).min(candidate.steps.len()));
                if !self.try_this(candidate) {
                    at += part;
                }
            }
            if part == 1 {
                return;
            }
            part = part.div_ceil(2);
        }
    }

    fn simplify_steps(&mut self) {
        for number in 0..self.best.steps.len() {
            if !self.best.steps[number].pause.is_zero() {
                let mut candidate = self.best.clone();
                candidate.steps[number].pause = Duration::ZERO;
                self.try_this(candidate);
            }
            while self.simplify_event(number) {}
        }
    }

    fn simplify_event(&mut self, number: usize) -> bool {
        let Step { event, pause } = self.best.steps[number].clone();
        event.simpler().into_iter().any(|event| {
            let mut candidate = self.best.clone();
            candidate.steps[number] = Step { event, pause };
            self.try_this(candidate)
        })
    }

    fn simplify_setup(&mut self) {
        while self.best.setup.simpler().into_iter().any(|setup| {
            let candidate = Script { setup, steps: self.best.steps.clone() };
            self.try_this(candidate)
        }) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Number(u32);

    impl Simpler for Number {
        fn simpler(&self) -> Vec<Self> {
            if self.0 == 0 { Vec::new() } else { vec![Self(0), Self(self.0 / 2), Self(self.0 - 1)] }
        }
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        let steps =
            (0..90).map(|n| Step { event: Number(n), pause: Duration::from_secs(n.into()) }).collect();
        let script = Script { setup: Number(9), steps };
        // It takes a large number before a pause of a minute and more.
        let fails = |script: &Script<Number, Number>| {
            let large = script.steps.iter().position(|step| step.event.0 >= 20);
            large.is_some_and(|large| script.steps[large + 1..].iter().any(|step| step.pause.as_secs() >= 60))
        };
        assert!(fails(&script));
        let (smallest, tried) = shrink(&script, fails);
        assert_eq!(smallest.setup, Number(0));
        let events: Vec<u32> = smallest.steps.iter().map(|step| step.event.0).collect();
        assert_eq!(events, [20, 0], "{smallest:?}");
        assert_eq!(smallest.steps[0].pause, Duration::ZERO);
        assert!(tried < 400, "{tried}");
    }
}
