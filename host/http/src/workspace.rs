//! The files of a session: lists, files in and out, archives, changes of several at once, and what differs.
//!
//! A file that is read goes out in pieces, each read when the one before it has gone; so a reader who does not read holds
//! two of them, and no thread. What comes in is taken in whole, as any body, and charged to its principal.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures::Stream;
use headers::{ContentRange, ETag, HeaderMapExt, IfMatch, IfNoneMatch, Range};

use super::Api;
use super::error::ApiError;
use super::intake::RequestSlot;
use super::model::ignored::Answered;
use super::model::request::needed;
use super::model::value::{SnapshotName, Word};
use super::model::workspace::{
    ArchiveQuery, ChangeFiles, ChangeQuery, DifferenceBody, FilesBody, FilesChangedBody,
    FilesDiffQuery, FilesQuery, RemoveQuery, ViewQuery,
};
use super::request::{FilePath, JsonBody, OneSession, Params, RawBody};
use dormouse::workspace::{ContentId, DiffQuery, Error, FileType, Ino};
use dormouse::{
    Archive, ArchiveError, ExpectedFile, FileError, FileOperation, OnBusy, SessionHandle,
    WorkspaceView, unpack_archive,
};
use dormouse_base::memory::pool::Charge;

/// How many bytes of a file are read at once.
const PIECE: usize = 256 << 10;

/// `GET …/workspace`: one page of what is in a directory and below it.
pub(super) async fn list(
    OneSession(session): OneSession,
    Params(query): Params<FilesQuery>,
) -> Result<Json<FilesBody>, ApiError> {
    let files = session.workspace(query.snapshot()).await?;
    let page = files.list(query.list()?).await?;
    let usage = files.usage().await?;
    let quotas = session.workspace_quotas();
    Ok(Json(FilesBody::new(query.path(), page, files.snapshot(), usage, quotas)))
}

/// `GET …/workspace/{path}`
pub(super) async fn read(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    OneSession(session): OneSession,
    FilePath(path): FilePath,
    Params(query): Params<ViewQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let files = session.workspace(query.snapshot.map(|SnapshotName(id)| id)).await?;
    let file = files.file(&path, true).await?;
    if file.stat.file_type != FileType::Regular {
        let error = format!("{path} is a directory; GET …/workspace?path={path} lists it");
        return Err(ApiError::new(StatusCode::CONFLICT, "file_conflict", error)
            .with("reason", "is-directory"));
    }
    let tag = file.content.and_then(|content| etag(content).parse::<ETag>().ok());
    if let (Some(wanted), Some(tag)) = (headers.typed_get::<IfMatch>(), &tag)
        && !wanted.precondition_passes(tag)
    {
        return Err(unexpected(&path, file.content));
    }
    let mut response = Response::new(Body::empty());
    let told = response.headers_mut();
    if let Some(tag) = tag.clone() {
        told.typed_insert(tag);
    }
    if let (Some(known), Some(tag)) = (headers.typed_get::<IfNoneMatch>(), &tag)
        && !known.precondition_passes(tag)
    {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let size = file.stat.size;
    told.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    told.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    told.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let part =
        match headers.typed_get::<Range>().filter(|_| !headers.contains_key(header::IF_RANGE)) {
            Some(range) => part_of(&range, size)?,
            None => None,
        };
    let (from, end) = part.unwrap_or((0, size));
    if part.is_some()
        && let Ok(range) = ContentRange::bytes(from..end, size)
    {
        told.typed_insert(range);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(end - from));
    let mut charge = api.answers.of(slot.principal());
    charge.grow((2 * PIECE as u64).min(2 * (end - from)))?;
    let ino = file.stat.identity.ino;
    *response.body_mut() =
        Body::from_stream(pieces(Reading { files, ino, from, end, _charge: charge, _slot: slot }));
    Ok(response)
}

/// `PUT …/workspace/{path}`
pub(super) async fn write(
    OneSession(session): OneSession,
    FilePath(path): FilePath,
    Params(query): Params<ChangeQuery>,
    headers: HeaderMap,
    RawBody(content): RawBody,
) -> Result<Response, ApiError> {
    let mut operations = expectations(&path, &headers)?;
    operations.push(FileOperation::Write { path: path.clone(), content });
    let changed = change(&session, operations, query.on_busy).await?;
    let is_new = changed.added > 0;
    let files = session.workspace(changed.snapshot_id()).await;
    let mut answer = Json(changed).into_response();
    // It may have been changed again, and more than once.
    if let Ok(files) = files
        && let Ok(file) = files.file(&path, true).await
        && let Some(content) = file.content
        && let Ok(tag) = HeaderValue::try_from(etag(content))
    {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    if is_new {
        *answer.status_mut() = StatusCode::CREATED;
    }
    Ok(answer)
}

/// `DELETE …/workspace/{path}`
pub(super) async fn remove(
    OneSession(session): OneSession,
    FilePath(path): FilePath,
    Params(query): Params<RemoveQuery>,
    headers: HeaderMap,
) -> Result<Json<FilesChangedBody>, ApiError> {
    let mut operations = expectations(&path, &headers)?;
    operations.push(FileOperation::Remove { path, recursive: query.recursive });
    Ok(Json(change(&session, operations, query.on_busy).await?))
}

/// `POST …/workspace/ops`: all of these changes, or none.
pub(super) async fn operate(
    OneSession(session): OneSession,
    JsonBody { body, ignored, .. }: JsonBody<ChangeFiles>,
) -> Result<Json<Answered<FilesChangedBody>>, ApiError> {
    let operations = needed("operations", body.operations, "is needed")?;
    let operations: Result<Vec<_>, _> =
        operations.into_iter().map(FileOperation::try_from).collect();
    let answer = change(&session, operations?, body.on_busy).await?;
    Ok(Json(Answered { answer, ignored }))
}

/// `GET …/workspace.tar`
pub(super) async fn download(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    OneSession(session): OneSession,
    Params(query): Params<ArchiveQuery>,
) -> Result<Response, ApiError> {
    let files = session.workspace(query.snapshot.map(|SnapshotName(id)| id)).await?;
    let archive = files.archive(query.path.as_deref().unwrap_or(".")).await?;
    let mut charge = api.answers.of(slot.principal());
    charge.grow(2 * Archive::MAX_PIECE)?;
    let stream = futures::stream::try_unfold((archive, charge, slot), async |mut state| {
        let piece = state.0.next().await?;
        Ok::<_, FileError>(piece.map(|piece| (piece, state)))
    });
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    let name = HeaderValue::from_static("attachment; filename=\"workspace.tar\"");
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// `PUT …/workspace.tar`: all that is in an archive, or nothing. What is there and not in the archive stays.
pub(super) async fn upload(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    OneSession(session): OneSession,
    Params(query): Params<ArchiveQuery>,
    RawBody(archive): RawBody,
) -> Result<Json<FilesChangedBody>, ApiError> {
    let directory = query.path.unwrap_or_else(|| ".".to_owned());
    let length = archive.len() as u64;
    let unpack = move || unpack_archive(&archive, &directory);
    let operations = api.documents.work(slot.principal(), length, unpack).await??;
    Ok(Json(change(&session, operations, query.on_busy).await?))
}

/// `GET …/workspace.diff`: what differs from the files of a snapshot to those of another, or of now.
pub(super) async fn diff(
    OneSession(session): OneSession,
    Params(query): Params<FilesDiffQuery>,
) -> Result<Json<DifferenceBody>, ApiError> {
    let new = session.workspace(query.to.map(|SnapshotName(to)| to)).await?;
    let SnapshotName(from) = needed("from", query.from, "is needed: the id of a snapshot")?;
    let old = session.workspace(Some(from)).await?;
    let which = DiffQuery { after: query.after(), limit: query.limit() };
    let changes = old.changes_to(&new, which).await?;
    Ok(Json(DifferenceBody::new(from, new.snapshot(), changes)))
}

async fn change(
    session: &SessionHandle,
    operations: Vec<FileOperation>,
    on_busy: Option<Word<OnBusy>>,
) -> Result<FilesChangedBody, ApiError> {
    let on_busy = on_busy.map_or_else(OnBusy::default, |Word(on_busy)| on_busy);
    Ok(session.change_files(operations, on_busy).await.map(|(changed, _)| changed)?.into())
}

/// What the headers of a request ask of the file that it is to change.
fn expectations(path: &str, headers: &HeaderMap) -> Result<Vec<FileOperation>, ApiError> {
    let expect = |file| FileOperation::Expect { path: path.to_owned(), file };
    let mut expected = Vec::new();
    if let Some(value) = one(headers, &header::IF_NONE_MATCH)? {
        if value != "*" {
            let problem = "must be `*` here: the file must not be there";
            return Err(ApiError::invalid_field("If-None-Match", problem));
        }
        expected.push(expect(ExpectedFile::Absent));
    }
    if let Some(value) = one(headers, &header::IF_MATCH)? {
        let content = value.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        let content = content.filter(|tag| !tag.contains('"'));
        expected.push(expect(match content {
            None if value == "*" => ExpectedFile::Present,
            // A tag that is none of ours is that of no file.
            Some(tag) => ExpectedFile::Content(tag.parse().unwrap_or(ContentId([0; 32]))),
            None => {
                let problem = "must be `*` or one entity tag, as the ETag of the file has it";
                return Err(ApiError::invalid_field("If-Match", problem));
            }
        }));
    }
    Ok(expected)
}

/// The value of a header that may come once.
fn one<'a>(
    headers: &'a HeaderMap,
    name: &'static header::HeaderName,
) -> Result<Option<&'a str>, ApiError> {
    let mut given = headers.get_all(name).iter();
    let first = given.next();
    if given.next().is_some() {
        return Err(ApiError::invalid_field(name.as_str(), "may come once"));
    }
    let text = first.map(|value| value.to_str().map(str::trim));
    text.transpose().map_err(|_| ApiError::invalid_field(name.as_str(), "is no text"))
}

/// Which part of so many bytes a range asks for. `None`: all of them, as where it asks for several.
fn part_of(range: &Range, size: u64) -> Result<Option<(u64, u64)>, ApiError> {
    use std::ops::Bound;
    let mut parts = range.satisfiable_ranges(size);
    let (first, second) = (parts.next(), parts.next());
    if second.is_some() {
        return Ok(None);
    }
    let part = first.and_then(|(from, to)| {
        let from = match from {
            Bound::Included(from) => from,
            Bound::Excluded(from) => from.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match to {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => end,
            Bound::Unbounded => size,
        };
        let end = end.min(size);
        (from < end).then_some((from, end))
    });
    let Some(part) = part else {
        let error = format!("the file has {size} bytes, and none of them is in this range");
        let refused = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "invalid_range", error);
        return Err(refused.with("size", size));
    };
    Ok(Some(part))
}

/// The entity tag of these contents.
fn etag(content: ContentId) -> String {
    format!("\"{content}\"")
}

fn unexpected(path: &str, content: Option<ContentId>) -> ApiError {
    ApiError::from(FileError::Unexpected { path: path.to_owned(), content })
}

/// A file that is read.
struct Reading {
    files: WorkspaceView,
    ino: Ino,
    from: u64,
    end: u64,
    _charge: Charge,
    _slot: RequestSlot,
}

fn pieces(reading: Reading) -> impl Stream<Item = Result<Bytes, FileError>> {
    futures::stream::try_unfold(reading, async |mut reading| {
        if reading.from >= reading.end {
            return Ok(None);
        }
        let left = usize::try_from(reading.end - reading.from).unwrap_or(usize::MAX);
        let piece = reading.files.read_ino(reading.ino, reading.from, left.min(PIECE)).await?;
        if piece.is_empty() {
            return Ok(None);
        }
        reading.from += piece.len() as u64;
        Ok(Some((piece, reading)))
    })
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> ApiError {
        let (text, code) = (error.to_string(), error.code());
        match error {
            FileError::Refused { path, error } => {
                let status = match code {
                    "file_not_found" => StatusCode::NOT_FOUND,
                    "file_conflict" => StatusCode::CONFLICT,
                    "workspace_full" => StatusCode::PAYLOAD_TOO_LARGE,
                    "invalid_path" => StatusCode::BAD_REQUEST,
                    _ => return ApiError::internal(text),
                };
                let reason = match error {
                    Error::Quota(kind) => kind.as_str(),
                    error => error.wasi_name(),
                };
                ApiError::new(status, code, text).with("path", path).with("reason", reason)
            }
            FileError::Unexpected { path, content } => {
                let refused = ApiError::new(StatusCode::PRECONDITION_FAILED, code, text);
                refused.with("path", path).with("etag", content.map(etag))
            }
            FileError::TooMany => ApiError::invalid_field("operations", text),
            FileError::Unreadable(error) => ApiError::internal(error.to_string()),
        }
    }
}

impl From<ArchiveError> for ApiError {
    fn from(error: ArchiveError) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_archive", error.to_string())
    }
}
