//! What stands between a node and its daemon, so that the connection can end for one of them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Connections from a node to a daemon, one at a time.
pub(super) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

struct Shared {
    to: Mutex<SocketAddr>,
    ended: AtomicBool,
    connections: Mutex<Vec<Connection>>,
}

struct Connection {
    near: TcpStream,
    far: TcpStream,
    /// Whether it has ended for the node.
    ended: Arc<AtomicBool>,
    /// Whether the daemon is not to be told.
    ghost: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) fn start(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (to, ended) = (Mutex::new(to), AtomicBool::new(false));
        let shared = Arc::new(Shared { to, ended, connections: Mutex::default() });
        let far = shared.clone();
        let accepts = Some(thread::spawn(move || far.accept(&listener)));
        Proxy { address, shared, accepts }
    }

    pub(super) fn address(&self) -> String {
        format!("{}@{}", self.address.port(), self.address.ip())
    }

    /// Ends the connection of the node; the next one is to another daemon. A ghost of it stays
    /// at the daemon until [`Proxy::reap`].
    pub(super) fn cut(&self, ghost: bool, to: SocketAddr) {
        *self.shared.to.lock().unwrap() = to;
        for connection in &*self.shared.connections.lock().unwrap() {
            if !connection.ended.swap(true, Ordering::SeqCst) {
                connection.ghost.store(ghost, Ordering::SeqCst);
                shut(&connection.near);
            }
        }
    }

    /// Ends what has ended for the node at the daemon, too.
    pub(super) fn reap(&self) {
        self.shared.connections.lock().unwrap().retain(|Connection { far, ended, .. }| {
            let ended = ended.load(Ordering::SeqCst);
            if ended {
                shut(far);
            }
            !ended
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // So that it is noticed.
        drop(TcpStream::connect(self.address));
        for Connection { near, far, .. } in self.shared.connections.lock().unwrap().drain(..) {
            shut(&near);
            shut(&far);
        }
        drop(self.accepts.take().map(JoinHandle::join));
    }
}

impl Shared {
    fn accept(&self, listener: &TcpListener) {
        let mut copies = Vec::new();
        while let Ok((near, _)) = listener.accept() {
            if self.ended.load(Ordering::SeqCst) {
                break;
            }
            let to = *self.to.lock().unwrap();
            // A daemon may be down; then the node tries again.
            if let Ok(far) = TcpStream::connect(to) {
                copies.extend(self.connect(near, far).unwrap());
            }
        }
        copies.into_iter().for_each(|copy| copy.join().unwrap());
    }

    fn connect(&self, near: TcpStream, far: TcpStream) -> io::Result<[JoinHandle<()>; 2]> {
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let [ended, ghost] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let ends = (near.try_clone()?, far.try_clone()?);
        let backwards = (far.try_clone()?, near.try_clone()?);
        let connection = Connection { near, far, ended: ended.clone(), ghost: ghost.clone() };
        self.connections.lock().unwrap().push(connection);
        let forth = thread::spawn(move || {
            let (near, far) = ends;
            copy(&near, &far);
            ended.store(true, Ordering::SeqCst);
            if !ghost.load(Ordering::SeqCst) {
                shut(&far);
            }
        });
        let back = thread::spawn(move || {
            let (far, near) = backwards;
            copy(&far, &near);
            shut(&near);
        });
        Ok([forth, back])
    }
}

/// Copies what comes, until an end is closed.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
}

fn shut(stream: &TcpStream) {
    // It may be closed already, by the other end.
    drop(stream.shutdown(Shutdown::Both));
}
