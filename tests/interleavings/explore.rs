//! The search: every sequence of choices, depth first, each run from the beginning.

use crate::{
    patcher::{self, Answer, Waiting, Wants},
    world::{World, is_change, is_independent},
};
use serde_json::Value;
use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};
use tokio::{sync::mpsc, task::JoinHandle};

const NAMES: [&str; 2] = ["i-a", "i-b"];
/// More steps than any right run has: a run that has more goes round in circles.
const MOST_STEPS: usize = 400;

/// How often each thing may happen in one run.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) struct Budget {
    /// The lock goes to the other patcher, without the leader's knowledge.
    pub(crate) lock_moves: u8,
    /// The leader dies.
    pub(crate) deaths: u8,
    /// A change is made, and its answer is lost.
    pub(crate) lost_answers: u8,
    /// A change is still on its way when its sender gives up.
    pub(crate) late: u8,
    /// The author deploys new code.
    pub(crate) deploys: u8,
}

/// One thing that can happen next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Serve(usize),
    LoseAnswer(usize),
    Delay(usize),
    Arrive(usize),
    MoveLock,
    Die,
    AuthorRegisters,
    AuthorUpdates,
}

#[derive(Debug)]
struct Patcher {
    requests: mpsc::UnboundedReceiver<Waiting>,
    task: JoinHandle<()>,
    waiting: Option<Waiting>,
    /// Of all that it was told: it is nothing but a function of that.
    told: DefaultHasher,
    /// How often ECS had been changed when its last round began.
    round_at: Option<u32>,
    has_ended: bool,
    /// The term in which it took the lock.
    term: Option<u32>,
}

impl Patcher {
    fn start(name: &'static str) -> Self {
        let (requests, task) = patcher::start(name);
        Self {
            requests,
            task,
            waiting: None,
            told: DefaultHasher::new(),
            round_at: None,
            has_ended: false,
            term: None,
        }
    }

    /// Lets it come to its next request, or its end.
    async fn settle(&mut self) {
        if self.waiting.is_none() {
            self.waiting = self.requests.recv().await;
        }
        if self.waiting.is_none() && !self.has_ended {
            self.has_ended = true;
            if let Err(error) = (&mut self.task).await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    fn answer(&mut self, answer: Answer) {
        format!("{answer:?}").hash(&mut self.told);
        if let Some(waiting) = self.waiting.take() {
            drop(waiting.answer.send(answer));
        }
    }
}

struct Run {
    world: World,
    patchers: [Patcher; 2],
    budget: Budget,
    author_is_deploying: bool,
    trace: Vec<String>,
}

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    runs: usize,
    states: usize,
    steps: usize,
    longest: usize,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runs, states, steps, longest } = self;
        write!(f, "{states} states in {runs} runs of up to {longest} choices, {steps} steps")
    }
}

/// Tries everything. `Err`: a run that ends wrong, with its steps.
pub(crate) fn explore(budget: Budget) -> Result<Found, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut found = Found::default();
    let mut seen = HashSet::new();
    // The choice at each fork, and how many there are.
    let mut path: Vec<(usize, usize)> = Vec::new();
    loop {
        runtime.block_on(one_run(budget, &mut path, &mut seen, &mut found))?;
        found.runs += 1;
        found.longest = found.longest.max(path.len());
        while path.last().is_some_and(|(choice, of)| choice + 1 == *of) {
            path.pop();
        }
        match path.last_mut() {
            Some((choice, _)) => *choice += 1,
            None => break,
        }
    }
    found.states = seen.len();
    Ok(found)
}

async fn one_run(
    budget: Budget,
    path: &mut Vec<(usize, usize)>,
    seen: &mut HashSet<u64>,
    found: &mut Found,
) -> Result<(), String> {
    let mut run = Run {
        world: World::new(),
        patchers: NAMES.map(Patcher::start),
        budget,
        author_is_deploying: false,
        trace: Vec::new(),
    };
    let outcome = run.follow(path, seen, found).await;
    for patcher in &run.patchers {
        patcher.task.abort();
    }
    outcome.map_err(|wrong| format!("{wrong}, after:\n  {}", run.trace.join("\n  ")))
}

impl Run {
    async fn follow(
        &mut self,
        path: &mut Vec<(usize, usize)>,
        seen: &mut HashSet<u64>,
        found: &mut Found,
    ) -> Result<(), String> {
        let mut forks = 0;
        for _ in 0..MOST_STEPS {
            for patcher in &mut self.patchers {
                patcher.settle().await;
            }
            if let Some(who) = (0..2).find(|who| self.is_independent(*who)) {
                self.take(Step::Serve(who));
                continue;
            }
            let (must, may) = self.possible();
            if must.is_empty() {
                return self.world.judge();
            }
            let steps: Vec<Step> = must.into_iter().chain(may).collect();
            let choice = if steps.len() == 1 {
                0
            } else if let Some((choice, _)) = path.get(forks) {
                forks += 1;
                *choice
            } else {
                // From here on this run goes where none was: not, where another one was.
                if !seen.insert(self.state()) {
                    return Ok(());
                }
                path.push((0, steps.len()));
                forks += 1;
                0
            };
            found.steps += 1;
            self.take(steps[choice]);
        }
        Err(format!("no end after {MOST_STEPS} steps"))
    }

    fn wants(&self, who: usize) -> Option<&Wants> {
        self.patchers[who].waiting.as_ref().map(|waiting| &waiting.wants)
    }

    fn is_independent(&self, who: usize) -> bool {
        match self.wants(who) {
            Some(Wants::Ecs(operation, request)) => is_independent(operation, request),
            Some(Wants::Share(request)) => request == "paused" || request.get("ensure").is_some(),
            // What a round begins with touches nothing that is shared.
            Some(Wants::Round { .. }) => self.needs_round(who),
            _ => false,
        }
    }

    /// Whether it holds the lock that it took.
    fn holds(&self, who: usize) -> bool {
        self.world.holder == Some(who) && self.patchers[who].term == Some(self.world.term)
    }

    /// One that holds the lock begins rounds until nothing is left to do; one that has lost it learns so by its next.
    fn needs_round(&self, who: usize) -> bool {
        let Some(Wants::Round { is_quiet }) = self.wants(who) else { return false };
        let patcher = &self.patchers[who];
        let has_seen_all = patcher.round_at == Some(self.world.changes);
        if self.holds(who) {
            !(*is_quiet && has_seen_all)
        } else {
            patcher.round_at.is_some() && !has_seen_all
        }
    }

    /// What must happen before the end, in some order, and what may.
    fn possible(&self) -> (Vec<Step>, Vec<Step>) {
        let (mut must, mut may) = (Vec::new(), Vec::new());
        for who in 0..2 {
            match self.wants(who) {
                None => {}
                Some(Wants::Lock) => {
                    let is_free = self.world.holder.is_none() || self.world.holder == Some(who);
                    must.extend(is_free.then_some(Step::Serve(who)));
                }
                Some(Wants::Round { .. }) => must.extend(self.needs_round(who).then_some(Step::Serve(who))),
                Some(Wants::Share(_)) => must.push(Step::Serve(who)),
                Some(Wants::Ecs(operation, _)) => {
                    must.push(Step::Serve(who));
                    if is_change(operation) {
                        may.extend((self.budget.lost_answers > 0).then_some(Step::LoseAnswer(who)));
                        may.extend((self.budget.late > 0).then_some(Step::Delay(who)));
                    }
                }
            }
        }
        must.extend((0..self.world.late.len()).map(Step::Arrive));
        if self.author_is_deploying {
            must.push(Step::AuthorUpdates);
        } else {
            may.extend((self.budget.deploys > 0).then_some(Step::AuthorRegisters));
        }
        if let Some(holder) = self.world.holder {
            // A change goes out within seconds of a write that renewed the lease, and is given up sooner than that ends: until then the
            // server gives the lock to nobody. One that is slower than that is late.
            let is_sure =
                matches!(self.wants(holder), Some(Wants::Ecs(operation, _)) if is_change(operation));
            may.extend((self.budget.lock_moves > 0 && !is_sure).then_some(Step::MoveLock));
            may.extend((self.budget.deaths > 0).then_some(Step::Die));
        }
        (must, may)
    }

    fn take(&mut self, step: Step) {
        let told = match step {
            Step::Serve(who) => self.serve(who),
            Step::LoseAnswer(who) => {
                self.budget.lost_answers -= 1;
                let (operation, request) = self.change(who);
                self.world.serve(&operation, &request);
                self.unanswered(who, &operation);
                format!("{}: {operation} is served, and its answer lost", NAMES[who])
            }
            Step::Delay(who) => {
                self.budget.late -= 1;
                let (operation, request) = self.change(who);
                self.world.is_late(&operation, &request);
                self.unanswered(who, &operation);
                format!("{}: {operation} is on its way, and given up", NAMES[who])
            }
            Step::Arrive(at) => format!("a late {} arrives", self.world.arrives(at)),
            Step::MoveLock => {
                self.budget.lock_moves -= 1;
                self.world.holder = self.world.holder.map(|who| 1 - who);
                self.world.term += 1;
                format!("the lock is {}'s now", NAMES[self.world.holder.unwrap_or_default()])
            }
            Step::Die => {
                self.budget.deaths -= 1;
                let who = self.world.holder.take().unwrap_or_default();
                self.patchers[who].task.abort();
                self.patchers[who].waiting = None;
                format!("{} dies", NAMES[who])
            }
            Step::AuthorRegisters => {
                self.budget.deploys -= 1;
                self.author_is_deploying = true;
                self.world.author_registers();
                "the author registers new code".to_owned()
            }
            Step::AuthorUpdates => {
                self.author_is_deploying = false;
                self.world.author_updates();
                "the author moves the service to it".to_owned()
            }
        };
        self.trace.push(told);
    }

    fn change(&self, who: usize) -> (String, Value) {
        match self.wants(who) {
            Some(Wants::Ecs(operation, request)) => (operation.clone(), request.clone()),
            other => panic!("{other:?} is no change"),
        }
    }

    fn unanswered(&mut self, who: usize, operation: &str) {
        self.world.unanswered += usize::from(operation == "RegisterTaskDefinition");
        self.patchers[who].answer(Answer::Silence);
    }

    fn serve(&mut self, who: usize) -> String {
        let name = NAMES[who];
        let Some(wants) = self.wants(who).cloned() else { panic!("{name} wants nothing") };
        let (told, answer) = match wants {
            Wants::Lock => {
                self.world.holder = Some(who);
                self.patchers[who].term = Some(self.world.term);
                self.patchers[who].round_at = None;
                (format!("{name} leads"), Answer::Told(200, String::new()))
            }
            Wants::Round { .. } => {
                self.patchers[who].round_at = Some(self.world.changes);
                (format!("{name} begins a round"), Answer::Told(200, String::new()))
            }
            Wants::Share(request) => match self.world.share(self.holds(who), &request) {
                Some(body) => (format!("{name}: {}", kind(&request)), Answer::Told(200, body)),
                None => (format!("{name}: its lock is lost"), Answer::LockLost),
            },
            Wants::Ecs(operation, request) => {
                let (status, body) = self.world.serve(&operation, &request);
                let about = request["taskDefinition"].as_str().unwrap_or_default();
                (format!("{name}: {operation} {about} ({status})"), Answer::Told(status, body))
            }
        };
        self.patchers[who].answer(answer);
        told
    }

    fn state(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.world.hash(&mut hasher);
        (self.budget, self.author_is_deploying).hash(&mut hasher);
        for patcher in &self.patchers {
            let waits = patcher.waiting.as_ref().map(|waiting| format!("{:?}", waiting.wants));
            let is_up_to_date = patcher.round_at == Some(self.world.changes);
            let holds_by_term = patcher.term == Some(self.world.term);
            (patcher.told.finish(), waits, is_up_to_date, holds_by_term).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn kind(request: &Value) -> String {
    match request {
        Value::String(kind) => kind.clone(),
        request => request.as_object().and_then(|members| members.keys().next().cloned()).unwrap_or_default(),
    }
}
