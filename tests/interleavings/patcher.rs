//! A patcher: the agent's rounds, whose every request waits at a gate until the search serves it.

use aws_config::{
    BehaviorVersion, Region, SdkConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{AsyncSleep, SharedAsyncSleep, Sleep};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use volumes_agent::{
    ecs::Ecs,
    patch_round::{Memory, Round, RoundError},
    share_worker::{Answers, Request, WorkerError},
};

/// What a patcher waits for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wants {
    /// To be the leader.
    Lock,
    /// To begin a round; whether the one before changed something, or failed.
    Round { is_quiet: bool },
    /// An answer of the share.
    Share(Value),
    /// An answer of ECS: the operation and the request.
    Ecs(String, Value),
}

/// What it is told.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// An HTTP status and a body, or what the share says.
    Told(u16, String),
    /// The lock is another's by now.
    LockLost,
    /// Nothing, in the time that there is.
    Silence,
}

/// A request at the gate.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) wants: Wants,
    pub(crate) answer: oneshot::Sender<Answer>,
}

#[derive(Debug, Clone)]
struct Gate(mpsc::UnboundedSender<Waiting>);

impl Gate {
    async fn ask(&self, wants: Wants) -> Answer {
        let (answer, told) = oneshot::channel();
        // Whoever doesn't listen any more has ended the run.
        drop(self.0.send(Waiting { wants, answer }));
        told.await.unwrap_or(Answer::Silence)
    }
}

impl HttpConnector for Gate {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let gate = self.clone();
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default().to_vec();
        HttpConnectorFuture::new(async move {
            let body = serde_json::from_slice(&body).unwrap();
            match gate.ask(Wants::Ecs(operation, body)).await {
                Answer::Told(status, body) => {
                    Ok(HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body)))
                }
                Answer::LockLost | Answer::Silence => {
                    Err(ConnectorError::timeout("no answer in time".into()))
                }
            }
        })
    }
}

impl Answers for Gate {
    async fn ask_within<A: DeserializeOwned + Send>(
        &self,
        request: &Request,
        deadline: Duration,
    ) -> Result<A, WorkerError> {
        match self.ask(Wants::Share(serde_json::to_value(request).unwrap())).await {
            Answer::Told(_, body) => Ok(serde_json::from_str(&body).unwrap()),
            Answer::LockLost => Err(WorkerError::Failed("the leader's lock is lost".to_owned().into())),
            Answer::Silence => Err(WorkerError::TimedOut(deadline)),
        }
    }
}

/// Starts one; its requests come out of the receiver.
pub(crate) fn start(name: &'static str) -> (mpsc::UnboundedReceiver<Waiting>, tokio::task::JoinHandle<()>) {
    let (gate, requests) = mpsc::unbounded_channel();
    (requests, tokio::spawn(run(name, Gate(gate))))
}

async fn run(name: &'static str, gate: Gate) {
    let ecs = Ecs::unpaced(&sdk(gate.clone()));
    loop {
        gate.ask(Wants::Lock).await;
        lead(name, &gate, &ecs).await;
    }
}

/// Rounds, until the lock is lost.
async fn lead(name: &str, gate: &Gate, ecs: &Ecs) {
    let mut memory = Memory::default();
    let mut is_quiet = false;
    loop {
        gate.ask(Wants::Round { is_quiet }).await;
        let round = Round {
            instance: name.to_owned(),
            record: Some("record".to_owned()),
            memory,
            ..Round::new("default".to_owned(), "production".parse().unwrap())
        };
        let result = round.run(ecs, gate, Some(gate)).await;
        if result.error.as_ref().is_some_and(RoundError::is_lost_lock) {
            return;
        }
        is_quiet = result.error.is_none() && result.registered == 0 && result.updated == 0;
        memory = result.memory;
    }
}

/// Pauses between tries are over at once: the order of requests is what is searched, not their times.
#[derive(Debug)]
struct NoSleep;

impl AsyncSleep for NoSleep {
    fn sleep(&self, _: Duration) -> Sleep {
        Sleep::new(std::future::ready(()))
    }
}

/// As `aws::connect` makes it, but that no time passes while a request waits at the gate.
fn sdk(gate: Gate) -> SdkConfig {
    let connector = SharedHttpConnector::new(gate);
    let credentials = Credentials::from_keys("AKIATEST", "secret", None);
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .sleep_impl(SharedAsyncSleep::new(NoSleep))
        .build()
}
