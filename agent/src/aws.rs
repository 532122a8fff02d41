//! What all AWS clients share: credentials, the HTTP client, time limits, and errors told apart by what to do about them.
//!
//! Endpoints come from aws-config's usual settings (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_ECS`, ...), credentials from its
//! default chain (on an instance: the instance profile).

use crate::diagnostics::in_one_line;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig, timeout::TimeoutConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::{http::SharedHttpClient, orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::time::Duration;

/// One try of a call. Shorter than any NFS lease: a change to ECS that was still allowed when it was sent must not arrive
/// after another instance could have taken the lock.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
/// A call with its tries.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(6);
/// A connection inside a VPC is there at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The HTTPS client: rustls with ring, so that nothing but Rust and a C compiler is needed to build.
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// What every client of this region is made from.
pub async fn connect(region: &str) -> SdkConfig {
    loader().region(Region::new(region.to_owned())).load().await
}

/// The same where no region was named: that of the environment, the profile or the instance (aws-config's default chain), if any.
pub async fn connect_by_environment() -> SdkConfig {
    loader().load().await
}

fn loader() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::latest()).http_client(http_client()).timeout_config(timeouts)
}

/// Why a call to AWS did nothing, by what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// Not reached, or no answer in time: it comes back by itself.
    #[error("{call}: AWS is out of reach: {cause}")]
    Unreachable {
        /// The operation, as `ecs:UpdateService`.
        call: &'static str,
        /// What went wrong.
        cause: String,
    },
    /// No credentials, or they don't allow it.
    #[error("{call}: not allowed: {cause}")]
    Denied {
        /// The operation.
        call: &'static str,
        /// AWS' words.
        cause: String,
    },
    /// Too many calls in this account.
    #[error("{call}: throttled: {cause}")]
    Throttled {
        /// The operation.
        call: &'static str,
        /// AWS' words.
        cause: String,
    },
    /// AWS answered that it won't.
    #[error("{call}: {code}: {cause}")]
    Refused {
        /// The operation.
        call: &'static str,
        /// AWS' error code.
        code: String,
        /// AWS' words.
        cause: String,
    },
    /// AWS answered something that doesn't make sense.
    #[error("{call}: the answer can't be understood: {cause}")]
    Garbled {
        /// The operation.
        call: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

impl AwsError {
    /// Sorts an SDK error by meaning.
    pub fn of<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Some(service) = error.as_service_error() else {
            return Self::not_answered(call, error);
        };
        let code = service.code().unwrap_or("no error code").to_owned();
        // The sentence goes on after it.
        let cause = service.message().unwrap_or("no message").trim_end_matches('.').to_owned();
        match code.as_str() {
            "AccessDeniedException"
            | "AccessDenied"
            | "UnauthorizedOperation"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "ExpiredTokenException" => Self::Denied { call, cause: format!("{code}: {cause}") },
            "ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded" => {
                Self::Throttled { call, cause }
            }
            "ServerException" | "InternalServerError" | "ServiceUnavailable" | "InternalFailure" => {
                Self::Unreachable { call, cause: format!("{code}: {cause}") }
            }
            _ => Self::Refused { call, code, cause },
        }
    }

    fn not_answered<E: std::error::Error + 'static>(
        call: &'static str,
        error: &SdkError<E, HttpResponse>,
    ) -> Self {
        let cause = in_one_line(error);
        match error {
            // Credentials come from it as well: what is missing are no rights.
            SdkError::DispatchFailure(_) if cause.contains("could not communicate with IMDS") => {
                let cause = "no credentials: instance metadata, which gives them, is out of reach".to_owned();
                Self::Unreachable { call, cause }
            }
            // The chain of credential providers ends before anything is sent.
            SdkError::DispatchFailure(failure)
                if !failure.is_timeout() && !failure.is_io() && cause.contains("credentials") =>
            {
                Self::Denied { call, cause }
            }
            SdkError::ResponseError(_) => Self::Garbled { call, cause },
            _ => Self::Unreachable { call, cause },
        }
    }

    /// Whether AWS was reached at all; what it said is another matter.
    pub fn reached(&self) -> bool {
        !matches!(self, Self::Unreachable { .. })
    }

    /// Whether this instance's role lacks a right. It may be given later, so asking again is not wrong, only seldom useful.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }

    /// Whether AWS said that it did not do what it was asked for.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Throttled { .. } | Self::Refused { .. })
    }
}
