//! Through a port-forward to a ready pod of the Service.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::answer::{HttpAnswer, read_body};
use super::route::{Ask, FORM, Place};
use crate::adapters::cluster::Cluster;
use crate::clock::Stopwatch;
use crate::error::{Class, Error, Result};

pub(super) async fn ask(cluster: &Cluster, place: &Place, ask: &Ask) -> Result<HttpAnswer> {
    let target = cluster.target(&place.namespace, &place.service, place.port).await?;
    let mut forwarded = cluster.open(&target).await?;
    let refusal = forwarded.take_refusal();
    let watch = Stopwatch::start();
    match exchange(TokioIo::new(forwarded), place, ask).await {
        Ok((status, body, truncated)) => Ok(HttpAnswer { status, body, truncated, elapsed: watch.elapsed() }),
        Err(error) => {
            let said = tokio::time::timeout(std::time::Duration::from_millis(100), refusal).await.ok().flatten();
            let what = format!("pod {} does not answer on port {}", target.pod, target.port);
            let ours = Error::outside(what).class(Class::Transient { retry_after: None });
            Err(match said {
                Some(said) => ours.because(said.trim().to_owned()),
                None => ours.because(error),
            })
        }
    }
}

async fn exchange<I>(
    io: I,
    place: &Place,
    ask: &Ask,
) -> Result<(u16, Vec<u8>, bool), Box<dyn std::error::Error + Send + Sync>>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(io).await?;
    let connection = tokio::spawn(connection);
    let mut request = http::Request::builder()
        .method(ask.method())
        .uri(&ask.path)
        .header(HOST, format!("{}.{}:{}", place.service, place.namespace, place.port))
        .header(CONNECTION, "close");
    if ask.form.is_some() {
        request = request.header(CONTENT_TYPE, FORM);
    }
    let body = Full::new(Bytes::from(ask.form.clone().unwrap_or_default()));
    let response = sender.send_request(request.body(body)?).await;
    let read = match response {
        Ok(response) => {
            let status = response.status().as_u16();
            read_body(response.into_body(), ask.limit).await.map(|(body, truncated)| (status, body, truncated))
        }
        Err(error) => Err(Error::outside("no answer").because(error)),
    };
    connection.abort();
    Ok(read?)
}
