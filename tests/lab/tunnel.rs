//! A TLS tunnel to the share, by stunnel on both ends, as efs-utils makes one: the instance mounts 127.0.0.1.

use crate::{Error, Lab, host, network::GATEWAYS, place, wait};
use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Where the server's end listens.
const SERVER_PORT: u16 = 20490;
/// Where the instance's end listens.
pub const PORT: u16 = 20049;

/// The server's end; it ends with this value.
#[derive(Debug)]
pub struct Tunnel(Child);

impl Tunnel {
    /// Starts both ends for an instance.
    ///
    /// # Errors
    /// What openssl or stunnel says; [`Error::NotSeen`] when an end doesn't listen in time.
    pub fn start(lab: &Lab, index: usize) -> Result<Self, Error> {
        let folder = Path::new(place::MEMORY).join("tunnel");
        host::directory(&folder)?;
        let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
        host::run(
            Command::new("openssl")
                .args([
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:prime256v1",
                    "-nodes",
                    "-days",
                    "2",
                ])
                .args(["-subj", "/CN=share.lab", "-keyout"])
                .arg(&key)
                .arg("-out")
                .arg(&certificate),
        )?;
        let configuration = folder.join("server.conf");
        host::write(
            &configuration,
            format!(
                "foreground = yes\npid =\n[nfs]\naccept = 0.0.0.0:{SERVER_PORT}\nconnect = 127.0.0.1:2049\ncert = {}\nkey = {}\n",
                certificate.display(),
                key.display()
            ),
        )?;
        let server = Command::new("stunnel4")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(host::failed("start", Path::new("stunnel4")))?;
        let tunnel = Self(server);
        let address = SocketAddr::from(([127, 0, 0, 1], SERVER_PORT));
        wait::until(
            &lab.progress,
            "the tunnel's end at the server listens",
            Duration::from_secs(10),
            || {
                TcpStream::connect_timeout(&address, Duration::from_secs(1))
                    .map(drop)
                    .map_err(|error| error.to_string())
            },
        )?;
        let certificate = host::read(&certificate)?;
        lab.instance(index).run(&format!(
            "mkdir -p /run/tunnel && cat > /run/tunnel/ca.pem <<'END'\n{certificate}END\n\
             cat > /run/tunnel/client.conf <<'END'\npid =\n[nfs]\nclient = yes\naccept = 127.0.0.1:{PORT}\n\
             connect = {gateway}:{SERVER_PORT}\nverifyChain = yes\nCAfile = /run/tunnel/ca.pem\ncheckHost = share.lab\nEND\n\
             systemd-run --quiet --collect --unit lab-tunnel --service-type=forking stunnel4 /run/tunnel/client.conf",
            gateway = GATEWAYS[index],
        ))?;
        Ok(tunnel)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // One that has ended by itself is gone as well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
