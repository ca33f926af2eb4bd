// A client's connection as cpp-httplib reads and writes it, with what that library lacks: whether
// the client is still there while its answer is being computed, a limit on the bytes and the
// seconds of one request, and a close that does not destroy an answer on its way. Owned by one
// thread.
#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <mutex>
#include <set>
#include <string>

namespace orthorank {

struct ConnectionLimits {
    size_t max_request_bytes = 0;           // head and body
    std::chrono::seconds request_time{30};  // from its first byte to its last
    std::chrono::seconds write_time{30};    // that a client takes nothing
};

class Connection : public httplib::Stream {
 public:
    // Takes the socket.
    Connection(socket_t socket, const ConnectionLimits &limits);
    ~Connection() override;
    Connection(const Connection &) = delete;
    Connection &operator=(const Connection &) = delete;

    // Is there another request? Waits for its first byte, in steps after which `is_stopping` is
    // asked. Its time and bytes count from here.
    bool wait_for_request(std::chrono::milliseconds patience,
                          const std::function<bool()> &is_stopping);
    // Has the client closed its side?
    bool is_gone() const;
    // This request is the connection's last: what is left of it has not been read.
    void close_after_answer() { is_last_ = true; }
    bool is_last() const { return is_last_; }

    // The one that this thread serves.
    static Connection &current();

    bool is_readable() const override;
    bool is_writable() const override;
    ssize_t read(char *data, size_t n) override;
    ssize_t write(const char *data, size_t n) override;
    void get_remote_ip_and_port(std::string &ip, int &port) const override;
    void get_local_ip_and_port(std::string &ip, int &port) const override;
    socket_t socket() const override { return socket_; }

 private:
    using Clock = std::chrono::steady_clock;
    bool wait_for(short events, std::chrono::milliseconds patience) const;
    std::chrono::milliseconds time_left() const;
    void linger() const;

    socket_t socket_;
    ConnectionLimits limits_;
    std::array<char, 16384> buffer_{};
    size_t first_ = 0;  // of what is in the buffer
    size_t end_ = 0;
    size_t n_request_bytes_ = 0;
    Clock::time_point deadline_;
    bool is_last_ = false;
};

// The sockets of connections, for an end that waits for no client. Thread-safe.
class LiveSockets {
 public:
    // A socket is one of them as long as this is there, which has to be gone before the socket is
    // closed: its number may be another's then.
    class Entry {
     public:
        Entry(LiveSockets &all, socket_t socket);
        ~Entry();
        Entry(const Entry &) = delete;
        Entry &operator=(const Entry &) = delete;

     private:
        LiveSockets &all_;
        socket_t socket_;
    };

    // Nothing is read from them or written to them any more, nor with those that still come: who
    // waits for that goes on at once.
    void cut();

 private:
    std::mutex mutex_;
    std::set<socket_t> sockets_;
    bool is_cut_ = false;
};

}  // namespace orthorank
