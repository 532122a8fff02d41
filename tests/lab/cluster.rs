//! The whole lab: network, share, AWS, instance metadata and two instances, and what a step or a test asks of them.

use crate::{
    ecs,
    enclosure::Inside,
    error::Error,
    guest::{Guest, Identity},
    host, http, iam,
    image::{Content, Image},
    metadata, moto,
    moto::{FileSystem, Services},
    network::{self, ECS_PORT, GATEWAYS, METADATA},
    place,
    progress::Progress,
    share::Share,
    wait,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

/// The cluster, and the rack that the instances' tags name.
pub const CLUSTER: &str = "production";
/// The account of everything in the lab.
pub const ACCOUNT: &str = "123456789012";
/// The region of everything in the lab.
pub const REGION: &str = "us-east-1";
/// The tag that the file system and the instances carry.
const TAG: &str = "convox.rack";

/// What [`Lab::start`] needs that is made outside of the lab's walls, where the network is.
#[derive(Debug)]
pub struct Prepared {
    image: Image,
    moto: PathBuf,
}

/// Makes the guests' disk and moto's environment, or finds them made.
///
/// # Errors
/// As [`crate::image::prepare`] and [`moto::prepare`].
pub fn prepare(progress: &Progress) -> Result<Prepared, Error> {
    Ok(Prepared {
        image: crate::image::prepare(Content::Agent, progress)?,
        moto: moto::prepare(Services::Some, progress)?,
    })
}

/// The same for instances that have no agent yet, in an account where CloudFormation can be asked for one.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_clean(progress: &Progress) -> Result<Prepared, Error> {
    Ok(Prepared {
        image: crate::image::prepare(Content::Clean, progress)?,
        moto: moto::prepare(Services::All, progress)?,
    })
}

/// A running lab. All of it ends with this process (see [`crate::enclosure`]).
pub struct Lab {
    /// The lab's name.
    pub name: String,
    /// The lab's folder.
    pub folder: PathBuf,
    /// What a person sees.
    pub progress: Progress,
    /// The NFS server.
    pub share: Share,
    /// The file system as EFS knows it.
    pub file_system: FileSystem,
    guests: [Guest; 2],
    model: ecs::Model,
    _moto: Child,
    _servers: tokio::runtime::Runtime,
}

impl Lab {
    /// Starts everything and waits until both instances have booted.
    ///
    /// # Errors
    /// What doesn't start, with where its log is.
    pub fn start(inside: &Inside, progress: &Progress) -> Result<Self, Error> {
        Self::start_with(prepare(progress)?, inside, progress)
    }

    /// The same, with what was prepared.
    ///
    /// # Errors
    /// As [`Lab::start`].
    pub fn start_with(prepared: Prepared, inside: &Inside, progress: &Progress) -> Result<Self, Error> {
        let folder = inside.folder.clone();
        let logs = folder.join("logs");
        let memory = place::MEMORY;
        host::sh(&format!("mount -t tmpfs -o size=90%,mode=0700 lab {memory}"))?;
        network::up()?;
        let servers = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(host::failed("start", Path::new("the lab's servers")))?;
        let identities = Identity::all();
        let model = ecs::Model::of_environment(&prepared.moto)?;
        let config = ecs::Config {
            policies: shipped_policies(&identities)?,
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            clusters: vec![CLUSTER.to_owned()],
            ..ecs::Config::checked(model.clone())
        };
        serve(&servers, (GATEWAYS[0], ECS_PORT), |listener| ecs::serve(listener, config))?;
        let instances = identities.iter().map(described).collect();
        serve(&servers, (METADATA, 80), |listener| metadata::serve(listener, instances))?;
        progress.say("two instances boot (User-Mode Linux, systemd, Docker); the NFS server and moto start");
        let guests = identities.map(|identity| Guest::new(identity, &prepared.image, &folder));
        let [first, second] = guests;
        let guests = [first?, second?];
        for guest in &guests {
            guest.start()?;
        }
        servers.spawn(keep_awake([0, 1].map(|index| guests[index].identity.address.clone())));
        let share = Share::start(&logs, progress)?;
        let (moto, file_system) = moto::start(&prepared.moto, &logs, (TAG, CLUSTER), progress)?;
        let lab = Self {
            name: inside.name.clone(),
            progress: progress.clone(),
            share,
            file_system,
            guests,
            model,
            _moto: moto,
            _servers: servers,
            folder,
        };
        host::write(&lab.folder.join("ssh_config"), lab.ssh_config(&prepared.image))?;
        for guest in &lab.guests {
            guest.answers(progress)?;
        }
        Ok(lab)
    }

    /// An instance: 0 or 1.
    pub fn instance(&self, index: usize) -> &Guest {
        &self.guests[index]
    }

    /// Both instances.
    pub fn instances(&self) -> &[Guest; 2] {
        &self.guests
    }

    /// The service model that ECS checks requests against.
    pub fn model(&self) -> &ecs::Model {
        &self.model
    }

    /// Calls the lab's ECS as a deploy tool does.
    ///
    /// # Errors
    /// [`Error::Request`] with ECS's own error.
    pub fn ecs(&self, operation: &str, request: &Value) -> Result<Value, Error> {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let headers = [
            ("x-amz-target", target.as_str()),
            ("content-type", "application/x-amz-json-1.1"),
            ("user-agent", "lab"),
        ];
        let url = format!("http://{}:{ECS_PORT}/", GATEWAYS[0]);
        Ok(http::succeed("POST", &url, &headers, request.to_string().as_bytes())?.json())
    }

    /// Makes ECS newer than everybody's SDK: these members of an operation's request count as known from now on.
    ///
    /// # Errors
    /// When the lab's ECS doesn't answer.
    pub fn newer_ecs(&self, operation: &str, members: &[&str]) -> Result<(), Error> {
        self.ecs_control("POST", "model", &json!({ "operation": operation, "add": members })).map(drop)
    }

    /// Gives everybody the rights back that the shipped policies have for them.
    ///
    /// # Errors
    /// As [`Lab::ecs_control`].
    pub fn restore_rights(&self) -> Result<(), Error> {
        self.ecs_control("DELETE", "policy", &Value::Null)?;
        for (access_key, allow) in shipped_policies(&Identity::all())? {
            self.ecs_control("POST", "policy", &json!({ "access_key": access_key, "allow": allow }))?;
        }
        Ok(())
    }

    /// One of the lab's own paths of ECS, without the `/lab/` before it; see [`ecs::server`].
    ///
    /// # Errors
    /// [`Error::Request`] with what it answers.
    pub fn ecs_control(&self, method: &str, path: &str, body: &Value) -> Result<Value, Error> {
        let url = format!("http://{}:{ECS_PORT}/lab/{path}", GATEWAYS[0]);
        let body = body.to_string();
        Ok(http::succeed(method, &url, &[("content-type", "application/json")], body.as_bytes())?.json())
    }

    /// Every call to ECS so far that instance `index` made, or all calls.
    ///
    /// # Errors
    /// When the lab's ECS doesn't answer.
    pub fn ecs_calls(&self, by: Option<usize>) -> Result<Vec<Value>, Error> {
        let calls = http::get(&format!("http://{}:{ECS_PORT}/lab/calls", GATEWAYS[0]))?.json();
        let all = calls.as_array().cloned().unwrap_or_default();
        let address = by.map(|index| self.guests[index].identity.address.as_str());
        Ok(all.into_iter().filter(|call| address.is_none_or(|address| call["source"] == address)).collect())
    }

    /// The container instance of an instance, as ECS describes it.
    ///
    /// # Errors
    /// What ECS says; [`Error::NotSeen`] when it isn't registered.
    pub fn container_instance(&self, index: usize) -> Result<Value, Error> {
        let id = &self.guests[index].identity.id;
        let arns = self.ecs("ListContainerInstances", &json!({ "cluster": CLUSTER }))?;
        let arns = arns["containerInstanceArns"].clone();
        let all = if arns.as_array().is_some_and(|arns| !arns.is_empty()) {
            self.ecs(
                "DescribeContainerInstances",
                &json!({ "cluster": CLUSTER, "containerInstances": arns }),
            )?
        } else {
            Value::Null
        };
        let all = all["containerInstances"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|instance| instance["ec2InstanceId"] == id.as_str()).ok_or_else(|| {
            Error::NotSeen {
                expected: format!("{id} is registered in the cluster {CLUSTER}"),
                seen: "it is not".to_owned(),
                waited: Duration::ZERO,
            }
        })
    }

    /// The instance's attribute `convox.volumes`, if it has it.
    ///
    /// # Errors
    /// As [`Lab::container_instance`].
    pub fn gate(&self, index: usize) -> Result<Option<String>, Error> {
        let instance = self.container_instance(index)?;
        let attributes = instance["attributes"].as_array().cloned().unwrap_or_default();
        let gate = attributes.iter().find(|attribute| attribute["name"] == "convox.volumes");
        Ok(gate.and_then(|attribute| attribute["value"].as_str()).map(str::to_owned))
    }

    /// Whether the agent of an instance says that it is the cluster's patcher.
    pub fn leads(&self, index: usize) -> bool {
        self.guests[index].get(12049, "/status", "application/json").json()["patching"]["role"] == "leader"
    }

    /// The daemon's health on an instance: the HTTP status and the report.
    pub fn health(&self, index: usize) -> crate::guest::Answer {
        self.guests[index].get(12049, "/healthz", "application/json")
    }

    /// Waits until the daemon of an instance reports a state. Gives the report.
    ///
    /// # Errors
    /// [`Error::NotSeen`] with the last report.
    pub fn reports(&self, index: usize, state: &str, deadline: Duration) -> Result<Value, Error> {
        let name = &self.guests[index].identity.name;
        let status = if state == "ready" { 200 } else { 503 };
        wait::until(&self.progress, &format!("{name}: /healthz says {status} `{state}`"), deadline, || {
            let answer = self.health(index);
            let report = answer.json();
            if answer.status == status && report["state"] == state {
                Ok(report)
            } else {
                Err(format!("{} {}", answer.status, answer.body.trim()))
            }
        })
    }

    /// Waits until ECS knows a value of the gate for an instance.
    ///
    /// # Errors
    /// [`Error::NotSeen`] with the last value.
    pub fn gates(&self, index: usize, value: &str, deadline: Duration) -> Result<(), Error> {
        let name = &self.guests[index].identity.name;
        wait::until(
            &self.progress,
            &format!("{name}: ECS has its attribute convox.volumes={value}"),
            deadline,
            || match self.gate(index) {
                Ok(Some(seen)) if seen == value => Ok(()),
                Ok(seen) => Err(format!("convox.volumes={}", seen.unwrap_or_else(|| "(absent)".to_owned()))),
                Err(error) => Err(error.to_string()),
            },
        )
    }

    /// Runs the agent's binary on this machine, as a pipeline or a laptop does.
    ///
    /// # Errors
    /// [`Error::Missing`] when it isn't built; [`Error::Command`] when it can't be started.
    pub fn agent(&self, arguments: &[&str], input: &str) -> Result<crate::guest::Output, Error> {
        agent(&[], arguments, input)
    }

    /// The same with AWS at the lab's ECS, and with credentials that may do everything: as a pipeline has them.
    ///
    /// # Errors
    /// As [`Lab::agent`].
    pub fn pipeline(&self, arguments: &[&str], input: &str) -> Result<crate::guest::Output, Error> {
        let endpoint = format!("http://{}:{ECS_PORT}", GATEWAYS[0]);
        let environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", iam::PIPELINE_KEY),
            ("AWS_SECRET_ACCESS_KEY", "lab"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        agent(&environment, arguments, input)
    }

    /// Gathers what everyone in the lab knows. Gives the folder.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn evidence(&self, of: &str) -> Result<PathBuf, Error> {
        let folder = self.folder.join("evidence").join(of);
        host::directory(&folder)?;
        for guest in &self.guests {
            guest.evidence(&folder)?;
        }
        for (name, path) in [("ecs.calls.json", "calls"), ("ecs.state.json", "state")] {
            let text = match http::get(&format!("http://{}:{ECS_PORT}/lab/{path}", GATEWAYS[0])) {
                Ok(answer) => serde_json::to_string_pretty(&answer.json()).unwrap_or(answer.body),
                Err(error) => error.to_string(),
            };
            host::write(&folder.join(name), text)?;
        }
        let tree = host::run(Command::new("find").arg(self.share.path("/")).args(["-ls"]))
            .unwrap_or_else(|error| error.to_string());
        host::write(&folder.join("share.files"), tree)?;
        Ok(folder)
    }

    /// For a person who looks around: `ssh -F` this file.
    fn ssh_config(&self, image: &Image) -> String {
        let common = format!(
            "Host *\n  User root\n  IdentityFile {}\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n",
            image.key.display()
        );
        self.guests.iter().fold(common, |text, guest| {
            text + &format!("Host {}\n  HostName {}\n", guest.identity.name, guest.identity.address)
        })
    }
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lab").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Runs the agent's binary on this machine, as a pipeline or a laptop does.
///
/// # Errors
/// [`Error::Missing`] when it isn't built; [`Error::Command`] when it can't be started.
pub fn agent(
    environment: &[(&str, &str)],
    arguments: &[&str],
    input: &str,
) -> Result<crate::guest::Output, Error> {
    use std::io::Write;
    let binary = crate::image::built("volumes-agent")?;
    let failed = host::failed_again("run", &binary);
    let mut command = Command::new(&binary)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(place::repository())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .map_err(&failed)?;
    if let Some(mut stdin) = command.stdin.take() {
        // A command that doesn't read its input closes it.
        drop(stdin.write_all(input.as_bytes()));
    }
    let output = command.wait_with_output().map_err(&failed)?;
    Ok(crate::guest::Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// What its metadata tell an instance.
fn described(identity: &Identity) -> metadata::Instance {
    metadata::Instance {
        address: identity.address.parse().unwrap_or(Ipv4Addr::UNSPECIFIED),
        instance_id: identity.id.clone(),
        availability_zone: identity.zone.to_owned(),
        availability_zone_id: identity
            .zone
            .replace("us-east-1a", "use1-az1")
            .replace("us-east-1b", "use1-az2"),
        region: REGION.to_owned(),
        account: ACCOUNT.to_owned(),
        mac: "06:00:00:00:00:01".to_owned(),
        local_hostname: format!("ip-{}.ec2.internal", identity.address.replace('.', "-")),
        tags: Some(BTreeMap::from([
            (TAG.to_owned(), CLUSTER.to_owned()),
            ("Name".to_owned(), identity.name.clone()),
        ])),
        role: "ecsInstanceRole".to_owned(),
    }
}

fn serve<F>(
    servers: &tokio::runtime::Runtime,
    (address, port): (&str, u16),
    server: impl FnOnce(tokio::net::TcpListener) -> F,
) -> Result<(), Error>
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let failed = host::failed_again("listen on", Path::new(address));
    let ip: Ipv4Addr = address.parse().map_err(|_| failed(std::io::ErrorKind::InvalidInput.into()))?;
    let listener = TcpListener::bind(SocketAddr::from((ip, port))).map_err(&failed)?;
    listener.set_nonblocking(true).map_err(&failed)?;
    let _inside_of_the_runtime = servers.enter();
    let listener = tokio::net::TcpListener::from_std(listener).map_err(&failed)?;
    servers.spawn(server(listener));
    Ok(())
}

/// Between two packets to each guest.
const NUDGE: Duration = Duration::from_secs(1);

/// A guest of User-Mode Linux 6.1 to which nobody spoke was seen to stand still for a minute and a half, past all of its timers, and to go on with
/// the first packet that came. So each is sent one that nobody listens to, all the time (port 9, discard).
async fn keep_awake(addresses: [String; 2]) {
    let Ok(socket) = tokio::net::UdpSocket::bind("0.0.0.0:0").await else { return };
    loop {
        for address in &addresses {
            // One that is off, or cut off, gets none.
            drop(socket.send_to(b"", (address.as_str(), 9)).await);
        }
        tokio::time::sleep(NUDGE).await;
    }
}

/// Instances may mount, gate and patch; a patcher of its own may patch.
fn shipped_policies(identities: &[Identity]) -> Result<ecs::Policies, Error> {
    let instance = iam::allowed(&["instance", "patcher"])?;
    let mut policies: ecs::Policies =
        identities.iter().map(|identity| (identity.access_key(), instance.clone())).collect();
    policies.insert(metadata::access_key(iam::PATCHER_ROLE), iam::allowed(&["patcher"])?);
    policies.insert(iam::PIPELINE_KEY.to_owned(), iam::allowed(&["pipeline"])?);
    Ok(policies)
}
