#include "server/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace orthorank {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds k_poll_step{100};
constexpr milliseconds k_linger_time{500};

thread_local Connection *t_current = nullptr;

}  // namespace

Connection::Connection(socket_t socket, const ConnectionLimits &limits)
    : socket_(socket), limits_(limits) {
    const int yes = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    t_current = this;
}

Connection::~Connection() {
    t_current = nullptr;
    if (is_last_) {
        linger();
    }
    ::shutdown(socket_, SHUT_RDWR);
    ::close(socket_);
}

// A socket that is closed with unread bytes resets the connection, and the answer may be lost.
void Connection::linger() const {
    ::shutdown(socket_, SHUT_WR);
    std::array<char, 4096> bytes;
    const auto end = Clock::now() + k_linger_time;
    while (Clock::now() < end && wait_for(POLLIN, k_poll_step) &&
           ::recv(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
    }
}

Connection &Connection::current() {
    CHECK(t_current != nullptr);
    return *t_current;
}

bool Connection::wait_for(short events, milliseconds patience) const {
    pollfd poll_for{socket_, events, 0};
    int n = 0;
    do {
        n = ::poll(&poll_for, 1, static_cast<int>(std::max<int64_t>(0, patience.count())));
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

bool Connection::wait_for_request(milliseconds patience, const std::function<bool()> &is_stopping) {
    const auto end = Clock::now() + patience;
    while (first_ == end_ && !wait_for(POLLIN, k_poll_step)) {
        if (Clock::now() >= end || is_stopping()) {
            return false;
        }
    }
    n_request_bytes_ = 0;
    deadline_ = Clock::now() + limits_.request_time;
    return true;
}

bool Connection::is_gone() const {
    pollfd poll_for{socket_, POLLRDHUP, 0};
    return ::poll(&poll_for, 1, 0) > 0 &&
           (poll_for.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

milliseconds Connection::time_left() const {
    return std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now());
}

bool Connection::is_readable() const {
    return first_ < end_ || wait_for(POLLIN, time_left());
}

bool Connection::is_writable() const {
    return wait_for(POLLOUT, limits_.write_time) && !is_gone();
}

ssize_t Connection::read(char *data, size_t n) {
    if (first_ == end_) {
        if (n_request_bytes_ > limits_.max_request_bytes || !wait_for(POLLIN, time_left())) {
            is_last_ = true;
            return -1;
        }
        const ssize_t n_received = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
        if (n_received <= 0) {
            return n_received;
        }
        first_ = 0;
        end_ = static_cast<size_t>(n_received);
    }
    n = std::min(n, end_ - first_);
    std::memcpy(data, buffer_.data() + first_, n);
    first_ += n;
    n_request_bytes_ += n;
    return static_cast<ssize_t>(n);
}

ssize_t Connection::write(const char *data, size_t n) {
    if (!wait_for(POLLOUT, limits_.write_time)) {
        return -1;
    }
    return ::send(socket_, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Connection::get_remote_ip_and_port(std::string &ip, int &port) const {
    ip.clear();
    port = 0;
}

void Connection::get_local_ip_and_port(std::string &ip, int &port) const {
    ip.clear();
    port = 0;
}

LiveSockets::Entry::Entry(LiveSockets &all, socket_t socket) : all_(all), socket_(socket) {
    const std::scoped_lock lock(all_.mutex_);
    all_.sockets_.insert(socket_);
    if (all_.is_cut_) {
        ::shutdown(socket_, SHUT_RDWR);
    }
}

LiveSockets::Entry::~Entry() {
    const std::scoped_lock lock(all_.mutex_);
    all_.sockets_.erase(socket_);
}

void LiveSockets::cut() {
    const std::scoped_lock lock(mutex_);
    is_cut_ = true;
    for (const socket_t socket : sockets_) {
        ::shutdown(socket, SHUT_RDWR);
    }
}

}  // namespace orthorank
