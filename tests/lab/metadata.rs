//! EC2 instance metadata with IMDSv2, for all instances of a lab at once: the caller's address tells which one asks.
//!
//! A GET without a valid token is 401, as on an instance that requires IMDSv2 (the ECS-optimised AMI does). Source of paths and
//! answers: EC2 user guide, "Use the Instance Metadata Service". What isn't there is 404, as on an instance that hasn't it.
//! `/lab/calls` tells every request that instances made, to callers that are no instance.

use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::net::TcpListener;

/// The longest life of a token, in seconds (EC2 user guide: six hours).
const MAX_TTL_SECONDS: u64 = 21_600;
const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// What an instance is told about itself.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its address, by which its requests are known.
    pub address: Ipv4Addr,
    /// `i-` and 17 hex digits.
    pub instance_id: String,
    /// Such as `us-east-1a`.
    pub availability_zone: String,
    /// Such as `use1-az1`: the same zone in all accounts.
    pub availability_zone_id: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// Of its first network interface.
    pub mac: String,
    /// The private DNS name.
    pub local_hostname: String,
    /// The instance's tags; `None` when it doesn't allow tags in metadata (EC2's default).
    pub tags: Option<BTreeMap<String, String>>,
    /// The name of its IAM role.
    pub role: String,
}

/// The access key of an instance's role: fake, and another one for each instance, so that a call can be traced to it.
pub fn access_key(instance_id: &str) -> String {
    let id: String = instance_id.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("ASIA{:0>16}", &id[id.len().saturating_sub(16)..]).to_uppercase()
}

impl Instance {
    /// The access key of its role's credentials.
    pub fn access_key(&self) -> String {
        access_key(&self.instance_id)
    }

    /// Every leaf below `/latest/`.
    fn leaves(&self) -> BTreeMap<String, String> {
        let document = json!({
            "version": "2017-09-30", "accountId": self.account, "architecture": "x86_64",
            "availabilityZone": self.availability_zone, "imageId": "ami-0123456789abcdef0", "instanceId": self.instance_id,
            "instanceType": "t3.medium", "pendingTime": "2026-01-01T00:00:00Z", "privateIp": self.address, "region": self.region,
        });
        let credentials = json!({
            "Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC",
            "AccessKeyId": self.access_key(), "SecretAccessKey": "lab-secret-of-nothing", "Token": "lab-session-of-nothing",
            "Expiration": "2099-01-01T00:00:00Z",
        });
        let data = |path: &str, value: &str| (format!("meta-data/{path}"), value.to_owned());
        let mut leaves = BTreeMap::from([
            data("instance-id", &self.instance_id),
            data("instance-type", "t3.medium"),
            data("placement/availability-zone", &self.availability_zone),
            data("placement/availability-zone-id", &self.availability_zone_id),
            data("placement/region", &self.region),
            data("local-ipv4", &self.address.to_string()),
            data("local-hostname", &self.local_hostname),
            data("mac", &self.mac),
            data(&format!("iam/security-credentials/{}", self.role), &credentials.to_string()),
            ("dynamic/instance-identity/document".to_owned(), document.to_string()),
        ]);
        for (key, value) in self.tags.iter().flatten() {
            leaves.extend([data(&format!("tags/instance/{key}"), value)]);
        }
        leaves
    }

    /// What is at `path` below `/latest/`: a leaf's text, or the list of what is in a folder.
    fn look_up(&self, path: &str) -> Option<String> {
        let leaves = self.leaves();
        if let Some(leaf) = leaves.get(path) {
            return Some(leaf.clone());
        }
        let folder = format!("{}/", path.trim_end_matches('/'));
        // Roles and tags have any name, slashes too: what is below them is one list, not folders.
        let is_flat = folder.ends_with("/tags/instance/") || folder.ends_with("/security-credentials/");
        let children: BTreeSet<String> = leaves
            .keys()
            .filter_map(|leaf| leaf.strip_prefix(&folder))
            .map(|rest| match rest.split_once('/') {
                Some((first, _)) if !is_flat => format!("{first}/"),
                _ => rest.to_owned(),
            })
            .collect();
        (!children.is_empty()).then(|| children.into_iter().collect::<Vec<_>>().join("\n"))
    }
}

/// One request of an instance, as `/lab/calls` tells it.
#[derive(Debug, Clone, serde::Serialize)]
struct Recorded {
    /// Seconds since the epoch.
    at: f64,
    source: IpAddr,
    method: String,
    path: String,
    /// Whether it carried a token that was valid.
    token: bool,
    /// Of the HTTP answer.
    status: u16,
}

/// A token belongs to the instance that asked for it.
struct Token {
    text: String,
    owner: IpAddr,
    until: Instant,
}

struct Lab {
    instances: Vec<Instance>,
    tokens: Vec<Token>,
    issued: u64,
    calls: Vec<Recorded>,
}

type Shared = Arc<Mutex<Lab>>;

/// Serves the metadata of `instances` until the future is dropped.
///
/// # Errors
/// What accepting connections fails with.
pub async fn serve(listener: TcpListener, instances: Vec<Instance>) -> io::Result<()> {
    let lab = Lab { instances, tokens: Vec::new(), issued: 0, calls: Vec::new() };
    let router = Router::new().fallback(answer).with_state(Shared::new(Mutex::new(lab)));
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await
}

async fn answer(
    State(lab): State<Shared>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let source = from.ip().to_canonical();
    let mut lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let Some(instance) = lab.instances.iter().find(|instance| instance.address == source).cloned() else {
        return match (method, path.as_str()) {
            (Method::GET, "/lab/calls") => Json(lab.calls.clone()).into_response(),
            (Method::DELETE, "/lab/calls") => {
                lab.calls.clear();
                StatusCode::NO_CONTENT.into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        };
    };
    let token = lab.is_valid(request.headers(), source);
    let response = if method == Method::PUT && path == "/latest/api/token" {
        lab.issue(request.headers(), source)
    } else if method != Method::GET {
        StatusCode::METHOD_NOT_ALLOWED.into_response()
    } else if !token {
        StatusCode::UNAUTHORIZED.into_response()
    } else {
        let found = path.strip_prefix("/latest/").and_then(|path| instance.look_up(&decoded(path)));
        found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), text)
    };
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let status = response.status().as_u16();
    lab.calls.push(Recorded { at, source, method: method.to_string(), path, token, status });
    response
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], body).into_response()
}

/// `%20` and the like decoded: keys of tags have spaces and more.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend(before.as_bytes());
        match after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Lab {
    fn is_valid(&self, headers: &HeaderMap, source: IpAddr) -> bool {
        let given = headers.get(TOKEN).and_then(|value| value.to_str().ok());
        let now = Instant::now();
        given.is_some_and(|given| {
            self.tokens.iter().any(|t| t.text == given && t.owner == source && t.until > now)
        })
    }

    fn issue(&mut self, headers: &HeaderMap, source: IpAddr) -> Response {
        if headers.contains_key("x-forwarded-for") {
            return StatusCode::FORBIDDEN.into_response(); // it came through a proxy
        }
        let ttl = headers.get(TTL).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        let Some(ttl) = ttl.filter(|ttl| (1..=MAX_TTL_SECONDS).contains(ttl)) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        self.issued += 1;
        let token = format!("lab-token-{}", self.issued);
        let until = Instant::now() + Duration::from_secs(ttl);
        self.tokens.retain(|token| token.until > Instant::now());
        self.tokens.push(Token { text: token.clone(), owner: source, until });
        ([(TTL, ttl.to_string())], text(token)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(address: [u8; 4]) -> Instance {
        Instance {
            address: address.into(),
            instance_id: "i-0123456789abcdef0".to_owned(),
            availability_zone: "us-east-1a".to_owned(),
            availability_zone_id: "use1-az1".to_owned(),
            region: "us-east-1".to_owned(),
            account: "123456789012".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
            local_hostname: "ip-10-77-0-11.ec2.internal".to_owned(),
            tags: Some(BTreeMap::from([
                ("convox.rack".to_owned(), "production".to_owned()),
                ("team/of".to_owned(), "x".to_owned()),
            ])),
            role: "lab-instance".to_owned(),
        }
    }

    #[test]
    fn an_instance_finds_itself() {
        let it = instance([10, 77, 0, 11]);
        for (path, expected) in [
            ("meta-data/instance-id", Some("i-0123456789abcdef0")),
            ("meta-data/placement/availability-zone", Some("us-east-1a")),
            ("meta-data/local-ipv4", Some("10.77.0.11")),
            ("meta-data/tags/instance", Some("convox.rack\nteam/of")),
            ("meta-data/tags/instance/", Some("convox.rack\nteam/of")),
            ("meta-data/tags/instance/convox.rack", Some("production")),
            ("meta-data/tags/instance/none", None),
            ("meta-data/tags/", Some("instance/")),
            ("meta-data/iam/security-credentials/", Some("lab-instance")),
            ("meta-data/public-ipv4", None),
        ] {
            assert_eq!(it.look_up(path).as_deref(), expected, "{path}");
        }
        let document: serde_json::Value =
            serde_json::from_str(&it.look_up("dynamic/instance-identity/document").unwrap()).unwrap();
        assert_eq!(document["instanceId"], "i-0123456789abcdef0");
        let credentials: serde_json::Value =
            serde_json::from_str(&it.look_up("meta-data/iam/security-credentials/lab-instance").unwrap())
                .unwrap();
        assert_eq!(credentials["AccessKeyId"], "ASIA123456789ABCDEF0");
        let untagged = Instance { tags: None, ..it };
        assert_eq!(untagged.look_up("meta-data/tags/instance"), None);
    }

    /// Asks from an address of loopback, which has many.
    fn ask(from: [u8; 4], to: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String) {
        use std::io::{Read, Write};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            socket.connect(to).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        let mut stream = stream;
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: imds\r\n{headers}connection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_told_without_a_token_of_ones_own() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let to = listener.local_addr().unwrap();
        let (one, other, lab) = ([127, 0, 0, 11], [127, 0, 0, 12], [127, 0, 0, 1]);
        let serving = tokio::spawn(serve(listener, vec![instance(one), instance(other)]));
        std::thread::spawn(move || {
            let id = "/latest/meta-data/instance-id";
            assert_eq!(ask(one, to, "GET", id, "").0, 401);
            assert_eq!(
                ask(one, to, "PUT", "/latest/api/token", "").0,
                400,
                "the life of the token is required"
            );
            let life = format!("{TTL}: 60\r\n");
            let (status, token) = ask(one, to, "PUT", "/latest/api/token", &life);
            assert_eq!(status, 200);
            let token = format!("{TOKEN}: {token}\r\n");
            assert_eq!(ask(one, to, "GET", id, &token), (200, "i-0123456789abcdef0".to_owned()));
            assert_eq!(ask(one, to, "GET", "/latest/meta-data/none", &token).0, 404);
            assert_eq!(ask(other, to, "GET", id, &token).0, 401, "another instance's token");
            assert_eq!(ask(one, to, "GET", "/lab/calls", &token).0, 404, "not for instances");
            let calls: serde_json::Value =
                serde_json::from_str(&ask(lab, to, "GET", "/lab/calls", "").1).unwrap();
            assert_eq!(calls[3]["path"], id);
            assert_eq!((&calls[3]["token"], &calls[0]["token"]), (&json!(true), &json!(false)));
        })
        .join()
        .unwrap();
        serving.abort();
    }
}
