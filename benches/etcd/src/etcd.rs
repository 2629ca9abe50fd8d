//! Three servers of etcd, and a client that puts.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::Request;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::{JoinSet, LocalSet};

use crate::process::{Process, free_port};
use crate::{Result, key, timed};

/// How long the servers may take to elect a leader.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Servers {
    runtime: Runtime,
    clients: Vec<(u16, SendRequest<Bytes>)>,
    _servers: Vec<Process>,
    _files: TempDir,
}

impl Servers {
    pub(crate) fn start(program: &Path) -> Result<Servers> {
        let files = tempfile::tempdir_in("/dev/shm")?;
        let mut ports = Vec::new();
        for _ in 0..3 {
            ports.push((free_port()?, free_port()?));
        }
        let members = ports.iter().enumerate();
        let members: Vec<_> =
            members.map(|(n, (_, peer))| format!("e{n}=http://127.0.0.1:{peer}")).collect();
        let server = |(number, (client, peer)): (usize, &(u16, u16))| {
            let [client_url, peer_url] =
                [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
            let mut command = Command::new(program);
            command.args(["--name", &format!("e{number}"), "--data-dir"]);
            command.arg(files.path().join(number.to_string()));
            command.args(["--listen-client-urls", &client_url]);
            command.args(["--advertise-client-urls", &client_url]);
            command.args(["--listen-peer-urls", &peer_url]);
            command.args(["--initial-advertise-peer-urls", &peer_url]);
            command.args(["--initial-cluster", &members.join(",")]);
            Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
        };
        let mut servers = ports.iter().enumerate().map(server).collect::<Result<Vec<_>>>()?;
        for (server, (port, _)) in servers.iter_mut().zip(&ports) {
            server.listens(*port)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut clients = Vec::new();
        for (port, _) in ports {
            clients.push((port, runtime.block_on(connect(port))?));
        }
        let servers = Servers { runtime, clients, _servers: servers, _files: files };
        servers.elect()?;
        Ok(servers)
    }

    /// Waits until a put succeeds.
    fn elect(&self) -> Result {
        let began = Instant::now();
        while let Err(error) = self.puts(3, 1, &[7]) {
            if began.elapsed() > PATIENCE {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Puts, with so many under way, by all connections in turn.
    pub(crate) fn puts(&self, count: usize, window: usize, value: &[u8]) -> Result<Duration> {
        timed(|| {
            LocalSet::new().block_on(&self.runtime, async {
                let mut open = JoinSet::new();
                for number in 0..count {
                    if open.len() == window
                        && let Some(done) = open.join_next().await
                    {
                        done??;
                    }
                    let (port, client) = &self.clients[number % self.clients.len()];
                    open.spawn_local(put(*port, client.clone(), message(&key(number), value)));
                }
                while let Some(done) = open.join_next().await {
                    done??;
                }
                Ok(())
            })
        })
    }
}

async fn connect(port: u16) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    // Each answer is a small frame, of which h2 allows a peer that it does not trust a few only.
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder.data_frame_budget(usize::MAX).handshake(stream).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Sends a request of the service `etcdserverpb.KV`, and waits for its status.
async fn put(port: u16, client: SendRequest<Bytes>, message: Bytes) -> Result {
    let request = Request::post(format!("http://127.0.0.1:{port}/etcdserverpb.KV/Put"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut stream) = client.ready().await?.send_request(request, false)?;
    stream.send_data(message, true)?;
    let mut body = response.await?.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let trailers = body.trailers().await?.ok_or("no trailers")?;
    match trailers.get("grpc-status") {
        Some(status) if status == "0" => Ok(()),
        _ => Err(format!("a put has failed: {trailers:?}").into()),
    }
}

/// Returns a `PutRequest` as gRPC frames it.
fn message(key: &str, value: &[u8]) -> Bytes {
    let mut request = BytesMut::new();
    for (tag, field) in [(0x0a, key.as_bytes()), (0x12, value)] {
        request.put_u8(tag);
        varint(&mut request, field.len());
        request.put_slice(field);
    }
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(request.len() as u32);
    message.unsplit(request);
    message.freeze()
}

fn varint(to: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        to.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    to.put_u8(number as u8);
}
