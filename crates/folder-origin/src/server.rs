//! The HTTP side: one request to one response, and the loop that accepts connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use dicom_dictionary_std::tags;
use dicomweb_types::{FrameNumber, InstancePath, TransferSyntax};
use http::header::{ACCEPT, ALLOW, HOST, WARNING};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::body::{self, Body, Part};
use crate::content::{Piece, Region, Source};
use crate::error::Problem;
use crate::file::{BulkPath, DicomFile};
use crate::index::{Index, Instance};
use crate::json;
use crate::negotiate::{Accept, Form, frame_media_type};
use crate::pixels;
use crate::route::{self, Level, Resource, Scope};
use crate::search::Search;

const DICOM: &str = "application/dicom";
const DICOM_JSON: &str = "application/dicom+json";
const OCTETS: &str = "application/octet-stream";
/// A client that sends no request in this time loses its connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until `shutdown`, then finishes what is under way.
pub(crate) async fn serve(
    index: Arc<Index>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let fallback_host = listener.local_addr()?.to_string();
    let origin = Arc::new(Origin { index, fallback_host });
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Else the second piece of an answer waits for the acknowledgement of the first, which
                    // takes 40 ms.
                    let _ = stream.set_nodelay(true);
                    stream
                }
                Err(error) => {
                    // Mostly out of file descriptors: wait until some connections are gone.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        let origin = origin.clone();
        let service = service_fn(move |request| {
            let origin = origin.clone();
            async move { Ok::<_, Infallible>(origin.respond(&request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

struct Origin {
    index: Arc<Index>,
    /// For the URLs in answers to requests without Host.
    fallback_host: String,
}

/// A request, read.
struct Asked {
    resource: Resource,
    query: Vec<(String, String)>,
    accept: Accept,
    /// `http://host:port`
    base: String,
}

impl Origin {
    async fn respond<B>(&self, request: &Request<B>) -> Response<Body> {
        let answer = match self.read(request) {
            // Files are read with blocking calls, which do not belong on the runtime's threads.
            Ok(asked) => {
                let index = self.index.clone();
                let work = tokio::task::spawn_blocking(move || answer(&index, &asked));
                work.await.unwrap_or(Err(Problem::NotFound("the request was interrupted")))
            }
            Err(problem) => Err(problem),
        };
        let response = answer.unwrap_or_else(|problem| describe(&problem));
        if request.method() == Method::HEAD { without_body(response) } else { response }
    }

    fn read<B>(&self, request: &Request<B>) -> Result<Asked, Problem> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Problem::MethodNotAllowed);
        }
        let resource = resource(request.uri().path())?;
        let query = parse_query(request.uri().query().unwrap_or_default())?;
        let header = |name| request.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let in_query = query.iter().find(|(name, _)| name == "accept").map(|(_, v)| v.as_str());
        let accept = Accept::parse(in_query.or_else(|| header(ACCEPT)).unwrap_or_default());
        // Only what is an authority goes into the URLs of an answer.
        let host = header(HOST).filter(|host| host.parse::<http::uri::Authority>().is_ok());
        let base = format!("http://{}", host.unwrap_or(&self.fallback_host));
        Ok(Asked { resource, query, accept, base })
    }
}

fn resource(path: &str) -> Result<Resource, Problem> {
    let not_utf8 = |_| Problem::BadRequest("the path is not UTF-8".into());
    let segments = path.trim_matches('/').split('/');
    let decoded = segments.map(|segment| percent_decode_str(segment).decode_utf8());
    let decoded = decoded.collect::<Result<Vec<_>, _>>().map_err(not_utf8)?;
    route::parse(&decoded.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

fn parse_query(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_decode_str(&text).decode_utf8().map(|text| text.into_owned());
        decoded.map_err(|_| Problem::BadRequest("the query is not UTF-8".into()))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| Ok((decode(name)?, decode(value)?))).collect()
}

fn answer(index: &Index, asked: &Asked) -> Result<Response<Body>, Problem> {
    match &asked.resource {
        Resource::Search(level, scope) => search(index, asked, *level, scope),
        Resource::Instances(scope) => instances(index, asked, scope),
        Resource::Metadata(scope) => metadata(index, asked, scope),
        Resource::Frames(path, numbers) => frames(index, asked, path, numbers),
        Resource::Bulkdata(path, place) => bulkdata(index, asked, path, place),
    }
}

fn search(
    index: &Index,
    asked: &Asked,
    level: Level,
    scope: &Scope,
) -> Result<Response<Body>, Problem> {
    asked.accept.json()?;
    let search = Search::parse(&asked.query)?;
    if scope.study.is_some() {
        found(index, scope)?;
    }
    let entries = search.run(index, level, scope, &asked.base);
    // Table 10.6.1-6: no match is success without content.
    let mut response = if entries.is_empty() { no_content() } else { json_body(&entries.into()) };
    if search.fuzzy_refused {
        let warning = "299 - \"fuzzymatching is not supported, matching was literal\"";
        response.headers_mut().insert(WARNING, HeaderValue::from_static(warning));
    }
    Ok(response)
}

fn instances(index: &Index, asked: &Asked, scope: &Scope) -> Result<Response<Body>, Problem> {
    let instances = found(index, scope)?;
    let syntaxes: Vec<TransferSyntax> = instances.iter().map(|i| stored_syntax(i)).collect();
    let one = scope.instance.is_some();
    let default = Form::Multipart(DICOM.to_owned());
    let form = asked.accept.payload(&[DICOM], syntaxes.iter(), one, default)?;
    if let (Form::Single(_), [instance], [syntax]) = (&form, &*instances, &*syntaxes) {
        let content_type = format!("{DICOM}; transfer-syntax={}", syntax.uid());
        return Ok(body::single(&content_type, vec![whole_file(instance)?]));
    }
    let files = instances.iter().map(|instance| whole_file(instance));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let parts =
        instances.iter().zip(files).zip(&syntaxes).map(|((instance, piece), syntax)| Part {
            content_type: format!("{DICOM}; transfer-syntax={}", syntax.uid()),
            location: format!("{}/{}", asked.base, instance.summary.path),
            pieces: vec![piece],
        });
    Ok(body::multipart(DICOM, shared(&syntaxes), parts.collect()))
}

fn metadata(index: &Index, asked: &Asked, scope: &Scope) -> Result<Response<Body>, Problem> {
    asked.accept.json()?;
    let objects = found(index, scope)?.into_iter().map(|instance| {
        let url = format!("{}/{}", asked.base, instance.summary.path);
        let file = DicomFile::open(&instance.file)?;
        let mut object = json::metadata(&file, &url);
        let syntax = json::attribute(dicom_core::VR::UI, file.syntax.uid());
        object.insert(json::key(tags::AVAILABLE_TRANSFER_SYNTAX_UID), syntax);
        Ok(Value::Object(object))
    });
    Ok(json_body(&Value::Array(objects.collect::<Result<_, Problem>>()?)))
}

fn frames(
    index: &Index,
    asked: &Asked,
    path: &InstancePath,
    numbers: &[FrameNumber],
) -> Result<Response<Body>, Problem> {
    let file = open(index, path)?;
    let frames = pixels::frames(&file, numbers)?;
    let locations = numbers.iter().map(|n| format!("{}/{path}/frames/{n}", asked.base)).collect();
    frame_response(asked, &file, frames, locations)
}

fn frame_response(
    asked: &Asked,
    file: &DicomFile,
    mut frames: Vec<Vec<Piece>>,
    locations: Vec<String>,
) -> Result<Response<Body>, Problem> {
    // Cells leave as little endian, whatever the file is (PS3.18 §8.7.3.5.2): what is not
    // encapsulated is Explicit VR Little Endian on the wire.
    let native = TransferSyntax::ExplicitLittleEndian;
    let syntax = if file.syntax.is_encapsulated() { &file.syntax } else { &native };
    let types = [frame_media_type(syntax), OCTETS];
    let default = Form::Multipart(types[0].to_owned());
    let one = frames.len() == 1;
    let form = asked.accept.payload(&types, std::iter::once(syntax), one, default)?;
    let uid = syntax.uid();
    match form {
        Form::Single(name) => {
            let content_type = format!("{name}; transfer-syntax={uid}");
            Ok(body::single(&content_type, frames.pop().unwrap_or_default()))
        }
        Form::Multipart(name) => {
            let content_type = format!("{name}; transfer-syntax={uid}");
            let parts = frames.into_iter().zip(locations).map(|(pieces, location)| Part {
                content_type: content_type.clone(),
                location,
                pieces,
            });
            Ok(body::multipart(&name, Some(uid), parts.collect()))
        }
    }
}

fn bulkdata(
    index: &Index,
    asked: &Asked,
    path: &InstancePath,
    place: &BulkPath,
) -> Result<Response<Body>, Problem> {
    let file = open(index, path)?;
    let value = file.bulk.iter().find(|value| value.path == *place);
    let value = value.ok_or(Problem::NotFound("no such bulk data"))?;
    if value.fragments.is_some() && place.items.is_empty() {
        return encapsulated_pixels(asked, &file, path);
    }
    let location = format!("{}/{path}/bulkdata/{place}", asked.base);
    let pieces = vec![Piece::Stored(file.region(value))];
    let document = document_type(&file, place);
    let types = [document.as_deref().unwrap_or(OCTETS), OCTETS];
    let syntax = [TransferSyntax::ExplicitLittleEndian];
    let default = Form::Single(types[0].to_owned());
    match asked.accept.payload(&types, syntax.iter(), true, default)? {
        Form::Single(name) => Ok(body::single(&name, pieces)),
        Form::Multipart(name) => {
            let part = Part { content_type: name.clone(), location, pieces };
            Ok(body::multipart(&name, None, vec![part]))
        }
    }
}

/// Compressed pixel data as bulk data: every frame (PS3.18 §10.4.1.1.6).
fn encapsulated_pixels(
    asked: &Asked,
    file: &DicomFile,
    path: &InstancePath,
) -> Result<Response<Body>, Problem> {
    if let Some(stream) = pixels::video(file) {
        let location = format!("{}/{path}/bulkdata/{}", asked.base, json::key(tags::PIXEL_DATA));
        return frame_response(asked, file, vec![stream], vec![location]);
    }
    let count = u32::try_from(pixels::number_of_frames(file)).unwrap_or(u32::MAX);
    let held = file.pixel_data().and_then(|p| p.fragments.as_ref()).map_or(0, Vec::len);
    // A claimed number of frames is not believed beyond the fragments there are.
    if count as usize > held {
        return Err(crate::error::FileError::Damaged("it has fewer fragments than frames").into());
    }
    let numbers: Vec<FrameNumber> = (1..=count).filter_map(FrameNumber::new).collect();
    let frames = pixels::frames(file, &numbers)?;
    let locations = numbers.iter().map(|n| format!("{}/{path}/frames/{n}", asked.base)).collect();
    frame_response(asked, file, frames, locations)
}

/// The media type an encapsulated document says it has, of those a browser may be handed.
fn document_type(file: &DicomFile, place: &BulkPath) -> Option<String> {
    if place.tag != tags::ENCAPSULATED_DOCUMENT || !place.items.is_empty() {
        return None;
    }
    let value = file.dataset.get(tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT)?.to_str().ok()?;
    (value.trim_end_matches([' ', '\0']) == "application/pdf").then(|| "application/pdf".to_owned())
}

fn found<'a>(index: &'a Index, scope: &Scope) -> Result<Vec<&'a Instance>, Problem> {
    let rows = index.rows().map(|(_, _, instance)| instance);
    let found: Vec<_> = rows.filter(|instance| scope.holds(&instance.summary.path)).collect();
    if found.is_empty() {
        Err(Problem::NotFound("this origin does not hold it"))
    } else {
        Ok(found)
    }
}

fn open(index: &Index, path: &InstancePath) -> Result<DicomFile, Problem> {
    let found = found(index, &path.clone().into())?;
    let instance = found.first().ok_or(Problem::NotFound("this origin does not hold it"))?;
    Ok(DicomFile::open(&instance.file)?)
}

fn stored_syntax(instance: &Instance) -> TransferSyntax {
    let uid = crate::index::text(&instance.attributes, tags::AVAILABLE_TRANSFER_SYNTAX_UID);
    TransferSyntax::from_uid(&uid)
}

fn whole_file(instance: &Instance) -> Result<Piece, Problem> {
    let length = std::fs::metadata(&instance.file).map_err(crate::error::FileError::Io)?.len();
    Ok(Piece::Stored(Region::new(Source::File(instance.file.clone()), 0, length)))
}

fn shared(syntaxes: &[TransferSyntax]) -> Option<&str> {
    let (first, rest) = syntaxes.split_first()?;
    rest.iter().all(|syntax| syntax == first).then(|| first.uid())
}

fn json_body(value: &Value) -> Response<Body> {
    body::whole(StatusCode::OK, DICOM_JSON, value.to_string())
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// RFC 9457. The text of a problem never holds a value of the request or of a file.
fn describe(problem: &Problem) -> Response<Body> {
    let status = problem.status();
    let title = status.canonical_reason().unwrap_or_default();
    let text = json!({ "title": title, "status": status.as_u16(), "detail": problem.to_string() });
    let mut response = body::whole(status, "application/problem+json", text.to_string());
    if matches!(problem, Problem::MethodNotAllowed) {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn without_body(response: Response<Body>) -> Response<Body> {
    response.map(|_| empty())
}
